"""fallback: the next model is asked where the one before could not answer, and nothing of the failed ones stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers import FaultServer, cut_midstream, drip_sse, hang, status, unused_port
from trio_tests import in_trio

from luahost import Config, Grant, Host, Provider, Source
from luahost.testing import EchoModel

ASK = "return function(a) return orcs.llm(a.prompt, a.opts) end"


def two(first_url: str, echo: EchoModel, **first: Any) -> Config:
    """`a` is asked first; `b` is an echo server."""
    providers = {
        "a": Provider(**({"name": "a", "base_url": first_url, "model": "big"} | first)),
        "b": Provider(name="b", base_url=echo.url, model="small"),
    }
    return Config(providers=providers, provider="a")


async def ask(host: Host, grant: Grant | None = None, **opts: Any) -> dict[str, Any]:
    vm = await host.load(Source(ASK), grants=[grant or Grant.llm()])
    result: dict[str, Any] = await vm.run({"prompt": "hello", "opts": {"max_retries": 0, "fallback": ["b"]} | opts})
    return result


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (status(529, b"{}"), "overloaded"),
        (status(429, b"{}", {"retry-after": "500"}), "rate_limit"),
        (status(500, b"oops"), "server_error"),
        (status(200, b"<html>"), "parse_error"),
        (hang, "timeout"),
    ],
)
def test_a_server_that_cannot_answer_is_followed_by_the_next(handler: Any, kind: str) -> None:
    @in_trio
    async def case() -> None:
        records: list[dict[str, Any]] = []
        with FaultServer(handler) as down, EchoModel() as echo:
            async with Host(two(down.url, echo), audit=records.append) as host:
                grant = Grant.llm(max_calls=2)
                answer = await ask(host, grant, session_id="s", first_token_timeout=0.2)
        assert answer["ok"], answer
        assert (answer["provider"], answer["model"], answer["content"]) == ("b", "small", "You said: hello")
        failed = answer["fallbacks"]
        assert [(each["provider"], each["model"], each["error_kind"]) for each in failed] == [("a", "big", kind)]
        assert failed[0]["error"]
        assert answer["attempts"] == 2
        assert grant.usage()["calls"] == 2  # each is a call of its own
        assert [(each["provider"], each["decision"], each.get("error_kind", "")) for each in records] == [
            ("a", "allow", kind),
            ("b", "allow", ""),
        ]

    case()


@in_trio
async def test_a_refused_connection_is_followed_and_is_given_back() -> None:
    with EchoModel() as echo:
        async with Host(two(f"http://127.0.0.1:{unused_port()}", echo)) as host:
            grant = Grant.llm(max_calls=1)
            answer = await ask(host, grant, fallback=[{"provider": "b", "model": "other/name"}])
    assert (answer["ok"], answer["model"]) == (True, "other/name")
    assert answer["fallbacks"][0]["error_kind"] == "connection_refused"
    assert grant.usage()["calls"] == 1


@pytest.mark.parametrize(
    ("handler", "kind"), [(status(401, b"{}"), "auth_error"), (status(400, b"{}"), "invalid_request")]
)
def test_what_is_the_scripts_own_fault_is_not_followed_unless_it_says_so(handler: Any, kind: str) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(handler) as down, EchoModel() as echo:
            async with Host(two(down.url, echo)) as host:
                plain = await ask(host)
                assert echo.calls == 0
                listed = await ask(host, fallback_on=[kind])
        assert (plain["ok"], plain["error_kind"]) == (False, kind)
        assert "fallbacks" not in plain
        assert listed["ok"]

    case()


@in_trio
async def test_never_after_content_reached_the_script() -> None:
    with FaultServer(cut_midstream(3)) as down, EchoModel() as echo:
        async with Host(two(down.url, echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local heard = 0 local opts = {max_retries = 0, fallback = {'b'}, session_id = 's'}\n"
                    "local whole = orcs.llm('x', opts) opts.on_delta = function() heard = heard + 1 end\n"
                    "return {whole, orcs.llm('x', opts), heard} end"
                ),
                grants=[Grant.llm()],
            )
            whole, streamed, heard = await vm.run()
            messages = json.loads(vm.sessions.dump())["s"]
    assert whole["ok"] and whole["fallbacks"][0]["error_kind"] == "stream_incomplete"
    assert heard > 0
    assert (streamed["ok"], streamed["error_kind"]) == (False, "stream_incomplete")
    assert streamed["detail"]["partial"]
    assert [message["role"] for message in messages] == ["user", "assistant"]  # the one that succeeded


@in_trio
async def test_each_attempt_is_judged_by_itself() -> None:
    with FaultServer(status(500)) as down, EchoModel() as echo:
        async with Host(two(down.url, echo)) as host:
            answer = await ask(host, Grant.llm(models=["big"]))
            assert echo.requests == []
            control = await ask(host, Grant.llm(models=["big", "small"]))
    assert (answer["ok"], answer["error_kind"]) == (False, "model_not_allowed")
    assert answer["fallbacks"][0]["error_kind"] == "server_error"
    assert control["ok"]


@in_trio
async def test_the_hosts_key_of_one_does_not_go_to_the_next_and_neither_does_a_scripts_own() -> None:
    with FaultServer(status(500)) as down, EchoModel() as echo:
        async with Host(two(down.url, echo)) as host:
            answer = await ask(host, api_key="sk-mine")
        assert dict(down.requests[0].headers)["authorization"] == "Bearer sk-mine"
        assert "authorization" not in echo.requests[0].headers
    assert answer["ok"]


@pytest.mark.alone
@in_trio
async def test_one_overall_timeout_bounds_all_of_them() -> None:
    with FaultServer(hang) as down, FaultServer(drip_sse(None, 0.02)) as slow:
        config = Config(
            providers={
                "a": Provider(name="a", base_url=down.url, model="m"),
                "b": Provider(name="b", base_url=slow.url, model="m"),
            },
            provider="a",
        )
        async with Host(config) as host:
            answer = await ask(host, first_token_timeout=0.2, overall_timeout=0.5)
    assert (answer["ok"], answer["error_kind"], answer["detail"]["phase"]) == (False, "timeout", "overall")
    assert 450 < answer["latency_ms"] < 900


@in_trio
async def test_all_of_them_down_says_the_last_and_lists_the_others() -> None:
    with FaultServer(status(500)) as one, FaultServer(status(529)) as other:
        config = Config(
            providers={
                "a": Provider(name="a", base_url=one.url, model="m"),
                "b": Provider(name="b", base_url=other.url, model="m"),
            },
            provider="a",
        )
        async with Host(config) as host:
            answer = await ask(host, session_id="s")
    assert (answer["error_kind"], answer["detail"]["attempts"]) == ("overloaded", 2)
    assert [each["error_kind"] for each in answer["fallbacks"]] == ["server_error"]


@in_trio
async def test_a_tool_loop_stays_with_the_one_that_answered() -> None:
    with FaultServer(status(500)) as down, EchoModel() as echo:
        async with Host(two(down.url, echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local heard = {} return {orcs.llm('call look {}', {max_retries = 0, fallback = {'b'}, resolve = true,\n"
                    "on_event = function(e) heard[#heard + 1] = e.type end,\n"
                    "tools = {{name = 'look', run = function() return 'seen' end}}}), heard} end"
                ),
                grants=[Grant.llm()],
            )
            answer, heard = await vm.run()
        assert len(down.requests) == 1
        assert len(echo.requests) == 2
    assert answer["content"] == "Tool said: seen"
    assert (answer["attempts"], len(answer["fallbacks"])) == (3, 1)
    assert "fallback" in heard
