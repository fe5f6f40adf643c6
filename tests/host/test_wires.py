"""Every wire end to end: a recorded answer of a third-party server, through the host, to the script and back.

What each wire's decoder makes of every recording is tests/wire's; here it is that the op speaks it: path, key
header, streamed and not, the history of a second turn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from servers import FaultServer
from trio_tests import in_trio

from luahost import Config, Grant, Host, Provider, Source

RECORDINGS = Path(__file__).parents[1] / "recordings" / "aimock"

WIRES: dict[str, dict[str, Any]] = {
    "openai": {
        "paths": ["/v1/chat/completions"] * 3,
        "bodies": ["openai_text.json", "openai_text_stream.sse"],
        "header": ("authorization", "Bearer sk-test-0001"),
        "history": lambda body: [(m["role"], m["content"]) for m in body["messages"]],
        "assistant": "assistant",
    },
    "anthropic": {
        "paths": ["/v1/messages"] * 3,
        "bodies": ["anthropic_text.json", "anthropic_text_stream.sse"],
        "header": ("x-api-key", "sk-test-0001"),
        "history": lambda body: [
            (
                m["role"],
                "".join(b.get("text", "") for b in m["content"])
                if isinstance(m["content"], list)
                else m["content"],
            )
            for m in body["messages"]
        ],
        "assistant": "assistant",
    },
    "gemini": {
        "paths": [
            "/v1beta/models/some-model:generateContent",
            "/v1beta/models/some-model:streamGenerateContent?alt=sse",
            "/v1beta/models/some-model:generateContent",
        ],
        "bodies": ["gemini_text.json", "gemini_text_stream.sse"],
        "header": ("x-goog-api-key", "sk-test-0001"),
        "history": lambda body: [
            (m["role"], "".join(p.get("text", "") for p in m["parts"])) for m in body["contents"]
        ],
        "assistant": "model",
    },
    "ollama": {
        "paths": ["/api/chat"] * 3,
        "bodies": ["ollama_native_text.json", "ollama_native_text_stream.ndjson"],
        "header": ("authorization", "Bearer sk-test-0001"),
        "history": lambda body: [(m["role"], m["content"]) for m in body["messages"]],
        "assistant": "assistant",
    },
}
TYPES = {".json": "application/json", ".sse": "text/event-stream", ".ndjson": "application/x-ndjson"}


@pytest.mark.parametrize("wire", WIRES)
def test_a_conversation_goes_over_each_wire_streamed_and_not(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUAHOST_TEST_KEY", "sk-test-0001")
    spec = WIRES[wire]
    whole, streamed = (RECORDINGS / name for name in spec["bodies"])

    def answer(conn: Any) -> None:
        request = conn.read_request()
        if request is None:
            return
        wanted = json.loads(request.body)
        stream = wanted.get("stream") is True or "stream" in request.path
        file = streamed if stream else whole
        conn.respond(200, {"content-type": TYPES[file.suffix]}, file.read_bytes())

    @in_trio
    async def case() -> None:
        with FaultServer(answer) as server:
            made = Provider(
                name="test", wire=wire, base_url=server.url, key_env="LUAHOST_TEST_KEY", model="some-model"
            )
            async with Host(Config(providers={"test": made}, provider="test")) as host:
                vm = await host.load(
                    Source(
                        "return function() local heard = {} local s = {session_id = 's', system_prompt = 'You are a test.'}\n"
                        "local a = orcs.llm('one', s)\n"
                        "local b = orcs.llm('two', {session_id = 's', on_delta = function(t) heard[#heard + 1] = t end})\n"
                        "local c = orcs.llm('three', {session_id = 's'}) return {a, b, c, table.concat(heard)} end"
                    ),
                    grants=[Grant.llm()],
                )
                first, second, third, heard = await vm.run()
                dump = vm.sessions.dump()
                vm.sessions.load(dump)
                assert vm.sessions.dump() == dump
            requests = server.requests
        for each in (first, second, third):
            assert each["ok"], each
            assert each["stop_reason"] == "end_turn"
            assert each["content"]
            assert each["usage"]["output"] is not None
        assert heard == second["content"]
        assert [request.path for request in requests] == spec["paths"]
        name, value = spec["header"]
        assert [dict(request.headers)[name] for request in requests] == [value] * 3
        assert not any("sk-test-0001" in request.path or b"sk-test-0001" in request.body for request in requests)
        turns = [turn for turn in spec["history"](json.loads(requests[2].body)) if turn[0] != "system"]
        assert turns == [
            ("user", "one"),
            (spec["assistant"], first["content"]),
            ("user", "two"),
            (spec["assistant"], second["content"]),
            ("user", "three"),
        ]
        assert b"You are a test." in requests[2].body

    case()


@in_trio
async def test_an_option_the_wire_does_not_take_is_a_warning_and_not_silence() -> None:
    from luahost.testing import EchoModel

    with EchoModel() as echo:
        made = Provider(name="openai", base_url=echo.url, model="o3")
        async with Host(Config(providers={"openai": made}, provider="openai")) as host:
            vm = await host.load(Source("return orcs.llm('x', {temperature = 0.5})"), grants=[Grant.llm()])
            answer = await vm.run()
        assert "temperature" not in echo.requests[0].body
    assert answer["ok"]
    assert answer["warnings"][0].startswith("temperature is not taken by this model")


def test_a_kept_text_stands_in_the_history_once() -> None:
    from luahost.ops.llm.heard import Heard
    from luahost.wire.events import Keep, Text, ToolCall
    from luahost.wire.messages import TextBlock, ToolUseBlock

    heard = Heard(lambda: 0.0)
    signed = {"wire": "gemini", "signature": "abc"}
    for event in (
        Text("Let me "),
        Text("see."),
        Keep(TextBlock("see.", signed)),
        ToolCall("c1", "look", {}, "{}", signed),
        ToolCall("c2", "cut", None, '{"a'),
    ):
        heard.take(event)
    assert heard.turn().content == [
        TextBlock("Let me "),
        TextBlock("see.", signed),
        ToolUseBlock("c1", "look", {}, signed),
    ]
