"""A script against servers that other people wrote, through the whole host."""

from __future__ import annotations

from typing import Any

import pytest
from third_party import ThirdParty
from trio_tests import in_trio

from luahost import Config, Grant, Host, Provider, Source

CHAT = Source("""
return function(prompt)
  local heard = {}
  local streamed = orcs.llm(prompt, { session_id = "s", on_delta = function(text) heard[#heard + 1] = text end })
  local whole = orcs.llm(prompt, { session_id = "s" })
  return { streamed, whole, table.concat(heard), orcs.llm_dump_sessions() }
end""")


async def answered(server: ThirdParty, wire: str, prompt: str, script: Source = CHAT) -> Any:
    made = Provider(name="third", wire=wire, base_url=server.url, model="some-model")
    async with Host(Config(providers={"third": made}, provider="third")) as host:
        vm = await host.load(script, grants=[Grant.llm(max_calls=4)])
        return await vm.run(prompt)


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "ollama"])
def test_aimock_is_spoken_to_over_each_wire(aimock: ThirdParty, wire: str) -> None:
    @in_trio
    async def case() -> None:
        streamed, whole, heard, dump = await answered(aimock, wire, "hello")
        for answer in (streamed, whole):
            assert answer["ok"], answer
            assert answer["content"] == "Hello! How can I help you today?"
            assert answer["stop_reason"] == "end_turn"
        assert heard == streamed["content"]
        assert dump.count("How can I help you") == 2

    case()


@in_trio
async def test_llama_cpps_server_answers_over_both_wires_it_has(llama: ThirdParty) -> None:
    for wire in ("openai", "anthropic"):
        streamed, whole, heard, _ = await answered(llama, wire, "hello")
        for answer in (streamed, whole):
            assert answer["ok"], answer
            assert answer["content"] == "hi, world"
            assert answer["usage"]["output"] > 0
        assert heard == streamed["content"]
