"""orcs.llm through everything: worker, gate, bridge, httpx, a real loopback server, and back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from servers import (
    Conn,
    FaultServer,
    cut_midstream,
    drip_sse,
    hang,
    html_instead_of_json,
    reset_midbody,
    status,
    unused_port,
)
from trio_tests import echo_config, in_trio

from luahost import Config, Denied, Exhausted, Grant, Host, Provider, Source, WorldError
from luahost.testing import EchoModel

ASK = "return function(a) return orcs.llm(a.prompt, a.opts) end"


def config_for(url: str, **provider: Any) -> Config:
    made = Provider(**({"name": "test", "base_url": url, "model": "m"} | provider))
    return Config(providers={**Config().providers, "test": made}, provider="test")


async def ask(host: Host, prompt: str = "hello", *, grant: Grant | None = None, **opts: Any) -> dict[str, Any]:
    vm = await host.load(Source(ASK), grants=[grant or Grant.llm()])
    return await vm.run({"prompt": prompt, "opts": opts})


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_without_a_grant_no_packet_leaves_and_there_is_one_audit_record() -> None:
    records: list[dict[str, Any]] = []
    with EchoModel() as echo:
        async with Host(echo_config(echo), audit=records.append) as host:
            vm = await host.load(Source("return {llm = orcs.llm('x'), ping = orcs.llm_ping()}"))
            answers = await vm.run()
        assert echo.requests == []
    for answer in answers.values():
        assert answer["ok"] is False
        assert answer["error_kind"] == "permission_denied"
        assert "session_id" not in answer
        assert answer["retryable"] is False
        assert answer["detail"]["rule"] == "no_grant"
    assert [(record["action"], record["decision"], record["rule"]) for record in records] == [
        ("llm", "deny", "no_grant"),
        ("llm_ping", "deny", "no_grant"),
    ]


@in_trio
async def test_a_copy_of_orcs_llm_made_before_the_grant_works_after_it_and_is_refused_after_a_revoke() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source("local f = orcs.llm return function(p) return f(p) end"))
            assert (await vm.run("a"))["error_kind"] == "permission_denied"
            vm.grant(Grant.llm())
            assert (await vm.run("b"))["content"] == "You said: b"
            vm.revoke("llm")
            assert (await vm.run("c"))["error_kind"] == "permission_denied"
        assert echo.calls == 1


@pytest.mark.alone
@in_trio
async def test_a_revoke_cuts_an_open_stream_within_100_ms() -> None:
    with FaultServer(drip_sse(None, 0.01)) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local heard = 0\n"
                    "local r = orcs.llm('x', {on_delta = function(t) heard = heard + 1 end})\n"
                    "return {r = r, heard = heard, again = orcs.llm('y')} end"
                ),
                grants=[Grant.llm()],
            )
            revoked = 0.0
            async with trio.open_nursery() as nursery:

                async def revoke() -> None:
                    nonlocal revoked
                    await trio.to_thread.run_sync(server.wait_requests, 1)
                    await trio.sleep(0.15)
                    revoked = time.perf_counter()
                    vm.revoke("llm")

                nursery.start_soon(revoke)
                answer = await vm.run()
            assert time.perf_counter() - revoked < 0.1
            assert await trio.to_thread.run_sync(server.conns[0].wait_peer_closed, 1.0) < 0.1
    assert answer["r"]["error_kind"] == "capability_revoked"
    assert answer["heard"] > 0
    assert answer["r"]["detail"]["partial"]
    assert answer["again"]["error_kind"] == "permission_denied"


@in_trio
async def test_a_revoke_ends_a_call_that_waits_for_its_first_byte() -> None:
    with FaultServer(hang) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm()])
            async with trio.open_nursery() as nursery:

                async def revoke() -> None:
                    await trio.to_thread.run_sync(server.wait_requests, 1)
                    vm.revoke("llm")

                nursery.start_soon(revoke)
                answer = await vm.run({"prompt": "x", "opts": {}})
    assert answer["error_kind"] == "capability_revoked"


@pytest.mark.alone
@in_trio
async def test_an_expiry_ends_a_call_under_way_and_every_later_one() -> None:
    with FaultServer(hang) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm(expires_in_s=0.3)])
            began = time.perf_counter()
            first = await vm.run({"prompt": "x", "opts": {}})
            assert 0.2 < time.perf_counter() - began < 1.0
            second = await vm.run({"prompt": "x", "opts": {}})
    assert first["error_kind"] == second["error_kind"] == "capability_expired"


@in_trio
async def test_max_calls_lets_exactly_that_many_through_when_many_race() -> None:
    with EchoModel(delay_s=0.02) as echo:
        async with Host(echo_config(echo)) as host:
            grant = Grant.llm(max_calls=3)
            vms = [await host.load(Source(ASK), grants=[grant]) for _ in range(8)]
            answers: list[dict[str, Any]] = []

            async def one(vm: Any) -> None:
                answers.append(await vm.run({"prompt": "x", "opts": {}}))

            async with trio.open_nursery() as nursery:
                for vm in vms:
                    nursery.start_soon(one, vm)
        assert echo.calls == 3
    assert sorted(answer["ok"] for answer in answers) == [False] * 5 + [True] * 3
    refused = [answer for answer in answers if not answer["ok"]]
    assert {answer["error_kind"] for answer in refused} == {"budget_exceeded"}
    assert {answer["detail"]["rule"] for answer in refused} == {"max_calls"}
    assert (grant.usage()["calls"], grant.usage()["running"]) == (3, 0)
    assert grant.usage()["tokens"] > 0


@in_trio
async def test_max_concurrency_counts_calls_under_way() -> None:
    with EchoModel(delay_s=0.05) as echo:
        async with Host(echo_config(echo)) as host:
            grant = Grant.llm(max_concurrency=2)
            vms = [await host.load(Source(ASK), grants=[grant]) for _ in range(4)]
            kinds: list[Any] = []

            async def one(vm: Any) -> None:
                kinds.append((await vm.run({"prompt": "x", "opts": {}})).get("error_kind"))

            async with trio.open_nursery() as nursery:
                for vm in vms:
                    nursery.start_soon(one, vm)
            assert kinds.count("concurrency_limit") == 2
            assert (await vms[0].run({"prompt": "x", "opts": {}}))["ok"]


@in_trio
async def test_a_call_that_never_connected_is_given_back() -> None:
    async with Host(config_for(f"http://127.0.0.1:{unused_port()}")) as host:
        grant = Grant.llm(max_calls=1)
        for _ in range(3):
            assert (await ask(host, grant=grant))["error_kind"] == "connection_refused"
        assert grant.usage() == {"calls": 0, "tokens": 0, "running": 0}


@in_trio
async def test_a_token_budget_limits_the_answer_and_then_refuses() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            grant = Grant.llm(max_tokens=40)
            vm = await host.load(Source(ASK), grants=[grant])
            first = await vm.run({"prompt": "one two three", "opts": {}})
            assert first["ok"]
            assert echo.requests[0].body["max_tokens"] <= 40
            asked_too_much = await vm.run({"prompt": "x", "opts": {"max_tokens": 500}})
            assert asked_too_much["error_kind"] == "budget_exceeded"
            assert asked_too_much["detail"]["rule"] == "max_tokens"
            while (answer := await vm.run({"prompt": "more and more words", "opts": {}}))["ok"]:
                pass
            assert answer["error_kind"] == "budget_exceeded"
        assert grant.usage()["tokens"] <= 60


@pytest.mark.parametrize(
    ("grant", "opts", "kind"),
    [
        (Grant.llm(models=["gpt-4o*"]), {"model": "llama3.2"}, "model_not_allowed"),
        (Grant.llm(models=[]), {}, "model_not_allowed"),
        (Grant.llm(providers=["openai"]), {}, "permission_denied"),
        (Grant.llm(hosts=["api.openai.com"]), {}, "host_not_allowed"),
        (Grant.llm(), {"base_url": "http://127.0.0.1:9"}, "host_not_allowed"),
        (Grant.llm(hosts=["127.0.0.1:9"]), {"base_url": "http://127.0.0.1:10"}, "host_not_allowed"),
    ],
)
def test_what_a_constraint_does_not_name_is_refused_by_name(grant: Grant, opts: dict[str, Any], kind: str) -> None:
    @in_trio
    async def case() -> None:
        with EchoModel() as echo:
            async with Host(echo_config(echo)) as host:
                answer = await ask(host, grant=grant, **opts)
            assert echo.requests == []
        assert answer["error_kind"] == kind
        assert answer["detail"]["grant"]

    case()


@in_trio
async def test_a_script_that_dies_of_a_refusal_raises_denied_naming_the_grant() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function() local r = orcs.llm('x') error(r.error) end", "a.lua"))
        with pytest.raises(Denied) as caught:
            await vm.run()
    assert caught.value.grant == "llm"
    assert caught.value.where == "a.lua:1"


@in_trio
async def test_a_script_cannot_make_up_a_refusal() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "error({ok=false, error_kind='permission_denied', error='llm denied'})"[:0]
                + "return function() error({error_kind='permission_denied', error='llm denied: made up'}) end"
            )
        )
        with pytest.raises(Exception) as caught:
            await vm.run()
    assert type(caught.value).__name__ == "ScriptError"


@in_trio
async def test_a_script_that_dies_of_a_used_up_budget_raises_exhausted() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source("return function() for i = 1, 3 do assert(orcs.llm('x').ok, 'no: ' .. tostring(i)) end end"),
                grants=[Grant.llm(max_calls=1)],
            )
            with pytest.raises(Exception, match="no: 2"):
                await vm.run()
            vm = await host.load(
                Source("return function() local r = orcs.llm('x') if not r.ok then error(r.error) end end"),
                grants=[Grant.llm(max_calls=0)],
            )
            with pytest.raises(Exhausted) as caught:
                await vm.run()
            assert caught.value.limit == "max_calls"


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_the_hosts_key_goes_to_its_own_origin_and_nowhere_else(monkeypatch: Any = None) -> None:
    import os

    os.environ["LUAHOST_TEST_KEY"] = "sk-test-SECRET-0001"
    records: list[dict[str, Any]] = []
    said: list[str] = []
    try:
        with EchoModel(key="sk-test-SECRET-0001") as own, FaultServer(status(200, b"{}")) as foreign:
            config = config_for(own.url, key_env="LUAHOST_TEST_KEY")
            foreign_host = foreign.url.removeprefix("http://")
            own_host = own.url.removeprefix("http://")
            async with Host(config, audit=records.append, output=lambda vm, kind, text: said.append(text)) as host:
                grant = Grant.llm(hosts=[own_host, foreign_host])
                vm = await host.load(
                    Source(
                        "return function(u) local out = {orcs.llm('a'), orcs.llm_ping(),"
                        " orcs.llm('b', {base_url = u}), orcs.llm_ping{base_url = u},"
                        " orcs.llm('c', {base_url = u, api_key = 'sk-own'}), orcs.llm_dump_sessions(), orcs.caps()}"
                        " print(orcs.json_encode(out)) return out end"
                    ),
                    grants=[grant],
                )
                answer = await vm.run(foreign.url)
                dump = vm.sessions.dump()
            assert answer[0]["ok"], answer[0]
            assert [request.headers.get("authorization") for request in own.requests] == [
                "Bearer sk-test-SECRET-0001"
            ] * 2
            sent = [dict(request.headers).get("authorization") for request in foreign.requests]
            assert sent == [None, None, "Bearer sk-own"]
    finally:
        del os.environ["LUAHOST_TEST_KEY"]
    for text in (json.dumps(answer), json.dumps(records), dump, "".join(said)):
        assert "SECRET" not in text


@in_trio
async def test_a_redirect_is_not_followed() -> None:
    from servers import redirect

    with EchoModel() as other, FaultServer(redirect(other.url + "/v1/chat/completions")) as server:
        async with Host(config_for(server.url)) as host:
            answer = await ask(host)
        assert other.requests == []
    assert answer["ok"] is False
    assert answer["error_kind"] == "http_error"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (" sk-test-0001\n", "You said: x"),
        ("sk-t\u00e9st", "no request can be made: a header is not ASCII (the key?)"),
        ("sk-\ntest", "a line end inside the request's head (in the key?)"),
    ],
)
def test_a_key_is_taken_without_what_a_file_leaves_around_it_and_an_odd_one_is_named_and_not_shown(
    key: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUAHOST_TEST_KEY", key)

    @in_trio
    async def case() -> None:
        with EchoModel(key="sk-test-0001") as echo:
            async with Host(config_for(echo.url, key_env="LUAHOST_TEST_KEY")) as host:
                vm = await host.load(
                    Source("local a = orcs.llm('x') return a.content or a.error"), grants=[Grant.llm()]
                )
                said = await vm.run()
        assert said.endswith(told) and "\u00e9" not in said

    case()


@in_trio
async def test_a_missing_key_is_said_by_the_variables_name_and_nothing_is_sent() -> None:
    with EchoModel() as echo:
        config = config_for(echo.url, key_env="LUAHOST_TEST_NO_SUCH_KEY")
        grant = Grant.llm(max_calls=1)
        async with Host(config) as host:
            answer = await ask(host, grant=grant)
        assert echo.requests == []
    assert answer["error_kind"] == "missing_api_key"
    assert "LUAHOST_TEST_NO_SUCH_KEY" in answer["error"]
    assert grant.usage()["calls"] == 0


# ── options ─────────────────────────────────────────────────────────────────────────────────────────────

WRONG = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 99}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": 1e18}, "timeout"),
    ({"overall_timeout": -1}, "overall_timeout"),
    ({"sytem_prompt": "x"}, "sytem_prompt"),
    ({"stop": "x"}, "stop"),
    ({"stop": [1]}, "stop[1]"),
    ({"provider": "opnai"}, "provider"),
    ({"model": "../../v1/files"}, "model"),
    ({"model": "x?key=1"}, "model"),
    ({"model": "x\r\nX-Evil: 1"}, "model"),
    ({"session_id": "a\nb"}, "session_id"),
    ({"base_url": "file:///etc/passwd"}, "base_url"),
    ({"base_url": "http://u:p@h/"}, "base_url"),
    ({"base_url": "http://127.1/"}, "base_url"),
    ({"api_key": "a b"}, "api_key"),
    ({"system_prompt": b"\xff"}, "system_prompt"),
    ({"tools": [{"name": "a\nb"}]}, "tools[1].name"),
    ({"tool_results": [{"id": "x", "content": "y"}]}, "tool_results"),
]


@in_trio
async def test_a_wrong_option_is_invalid_options_naming_the_field() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm()])
            for opts, field in WRONG:
                answer = await vm.run({"prompt": "x", "opts": opts})
                assert (answer["error_kind"], answer["detail"]["field"]) == ("invalid_options", field), opts
                assert "\n" not in answer["error"]
            assert (
                "did you mean 'system_prompt'"
                in (await vm.run({"prompt": "", "opts": {"sytem_prompt": "x"}}))["error"]
            )
        assert echo.requests == []


@in_trio
async def test_a_function_where_data_belongs_is_named_and_a_wrong_positional_argument_raises() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function() local r = orcs.llm('x', {seed = print}) local out = {r.error_kind, r.detail.field}\n"
                "for _, f in ipairs{function() orcs.llm() end, function() orcs.llm({}) end, function() orcs.llm('x', 1) end,"
                "function() orcs.llm_load_sessions() end} do local ok, e = pcall(f) out[#out + 1] = ok or e end\n"
                "return out end",
                "p.lua",
            ),
            grants=[Grant.llm()],
        )
        answer = await vm.run()
    assert answer[:2] == ["invalid_options", "seed"]
    assert all(text.startswith("p.lua:2: bad argument #") for text in answer[2:])


@in_trio
async def test_whole_numbers_written_as_floats_are_whole_numbers() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source("return orcs.llm('x', {max_tokens = 1e2, temperature = 1})"), grants=[Grant.llm()]
            )
            assert (await vm.run())["ok"]
        assert echo.requests[0].body["max_tokens"] == 100


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_a_streamed_answer_is_the_same_as_one_that_is_not() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function(p) local parts = {} local a = orcs.llm(p, {on_delta = function(t) parts[#parts+1] = t end})\n"
                    "return {a, orcs.llm(p), table.concat(parts), #parts} end"
                ),
                grants=[Grant.llm()],
            )
            streamed, whole, text, parts = await vm.run("the quick brown fox jumps")
    assert parts > 3
    assert text == streamed["content"] == whole["content"]
    for name in ("usage", "stop_reason", "model", "provider", "attempts"):
        assert streamed[name] == whole[name], name
    assert streamed["ttft_ms"] <= streamed["latency_ms"]


@pytest.mark.alone
@in_trio
async def test_on_delta_may_call_the_host_and_stops_the_stream_by_returning_false() -> None:
    with FaultServer(drip_sse(None, 0.005)) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local heard = {} local r = orcs.llm('x', {session_id = 's', on_delta = function(t)\n"
                    "heard[#heard + 1] = orcs.now() orcs.sleep(0.001) return #heard < 5 end})\n"
                    "return {r, #heard} end"
                ),
                grants=[Grant.llm()],
            )
            answer, heard = await vm.run()
            assert await trio.to_thread.run_sync(server.conns[0].wait_peer_closed, 1.0) < 0.5
            dump = json.loads(vm.sessions.dump())
    assert heard == 5
    assert answer["ok"] is True
    assert answer["stop_reason"] == "cancelled"
    assert dump["s"][1] == {"role": "assistant", "content": answer["content"]}


@pytest.mark.alone
@in_trio
async def test_an_error_in_on_delta_closes_the_stream_and_reaches_the_script() -> None:
    with FaultServer(drip_sse(None, 0.005)) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local ok, e = pcall(orcs.llm, 'x', {on_delta = function(t) error('enough', 0) end})\n"
                    "return {ok, e, orcs.llm_dump_sessions() } end"
                ),
                grants=[Grant.llm()],
            )
            ok, error, _ = await vm.run()
            assert await trio.to_thread.run_sync(server.conns[0].wait_peer_closed, 1.0) < 0.5
    assert (ok, error) == (False, "enough")


@in_trio
async def test_a_slow_on_delta_slows_the_server_and_not_the_host() -> None:
    piece = "x" * 4000
    sent = 0

    def flood(conn: Any) -> None:
        nonlocal sent
        from servers import OPENAI_END, openai_delta

        conn.read_request()
        for _ in range(3000):
            conn.sse([openai_delta(piece)], end=False)
            sent += 1
        conn.sse([OPENAI_END], end=True)

    with FaultServer(flood) as server:
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source(
                    "return function() local n = 0 orcs.llm('x', {on_delta = function(t) n = n + 1\n"
                    "if n < 5 then orcs.sleep(0.1) end return n < 200 end}) return n end"
                ),
                grants=[Grant.llm()],
            )
            async with trio.open_nursery() as nursery:
                answer: list[Any] = []

                async def go() -> None:
                    answer.append(await vm.run())

                nursery.start_soon(go)
                await trio.sleep(0.35)
                assert sent < 2900  # 12 MB would have come; what fits in buffers has
    assert answer == [200]


@in_trio
async def test_two_turns_of_one_session_at_a_time_are_refused_as_busy() -> None:
    with EchoModel(delay_s=0.03) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local inner\n"
                    "local outer = orcs.llm('a b c', {session_id = 's', on_delta = function()\n"
                    "inner = inner or orcs.llm('again', {session_id = 's'}) end}) return {outer, inner} end"
                ),
                grants=[Grant.llm()],
            )
            outer, inner = await vm.run()
            assert len(json.loads(vm.sessions.dump())["s"]) == 2
    assert outer["ok"] is True
    assert inner["error_kind"] == "session_busy"


# ── the world ───────────────────────────────────────────────────────────────────────────────────────────

FAULTS = [
    (html_instead_of_json, "parse_error"),
    (status(200, b""), "parse_error"),
    (status(200, b"{}"), "invalid_response"),
    (status(200, b'{"error": {"message": "boom", "code": 500}}'), "server_error"),
    (status(401, b'{"error": {"message": "bad key sk-abcdefghijklmnop"}}'), "auth_error"),
    (status(404, b"nope"), "not_found"),
    (status(429, b"{}", {"retry-after": "7"}), "rate_limit"),
    (status(500, b"oops"), "server_error"),
    (status(529, b""), "overloaded"),
    (status(400, b'{"error":{"code":"context_length_exceeded","message":"too long"}}'), "context_overflow"),
    (cut_midstream(3), "stream_incomplete"),
    (reset_midbody, "connection_reset"),
]


@in_trio
async def test_every_fault_of_a_server_is_a_kind_and_leaves_the_session_as_it_was() -> None:
    for handler, kind in FAULTS:
        with FaultServer(handler) as server:
            async with Host(config_for(server.url)) as host:
                vm = await host.load(Source(ASK), grants=[Grant.llm()])
                vm.sessions.load('{"s":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}')
                before = vm.sessions.dump()
                answer = await vm.run({"prompt": "x", "opts": {"session_id": "s", "max_retries": 0}})
                assert answer["ok"] is False, kind
                assert answer["error_kind"] == kind, answer
                assert "sk-abcdefghijklmnop" not in answer["error"]
                assert vm.sessions.dump() == before
                assert isinstance(answer["retryable"], bool)
                if kind == "rate_limit":
                    assert answer["detail"]["retry_after_s"] == 7


@pytest.mark.alone
@in_trio
async def test_overall_timeout_bounds_a_server_that_drips_for_ever_and_timeout_one_that_hangs() -> None:
    with FaultServer(drip_sse(None, 0.01)) as dripping, FaultServer(hang) as hanging:
        for server, opts in ((dripping, {"overall_timeout": 0.3}), (hanging, {"timeout": 0.3, "max_retries": 0})):
            async with Host(config_for(server.url)) as host:
                began = time.perf_counter()
                answer = await ask(host, stream=True, **opts)
                assert 0.2 < time.perf_counter() - began < 1.5
                assert answer["error_kind"] == "timeout"
                assert answer["retryable"] is True


@in_trio
async def test_connection_kinds_are_told_apart_by_type() -> None:
    async with Host(config_for(f"http://127.0.0.1:{unused_port()}")) as host:
        assert (await ask(host))["error_kind"] == "connection_refused"
    async with Host(config_for("http://no-such-host.invalid")) as host:
        assert (await ask(host))["error_kind"] == "dns"
    with FaultServer(lambda conn: conn.send(b"this is no TLS server\r\n")) as server:
        async with Host(config_for(server.url.replace("http://", "https://"))) as host:
            assert (await ask(host))["error_kind"] == "tls"


@in_trio
async def test_a_script_that_dies_of_the_world_raises_world_error() -> None:
    async with Host(config_for(f"http://127.0.0.1:{unused_port()}")) as host:
        vm = await host.load(
            Source("return function() local r = orcs.llm('x') error(r.error) end"), grants=[Grant.llm()]
        )
        with pytest.raises(WorldError) as caught:
            await vm.run()
    assert caught.value.kind == "connection_refused"


LISTINGS = {
    "openai": {"data": [{"id": "gpt-b"}, {"id": "gpt-a"}, {"id": "other"}, {"no": "id"}, 5]},
    "gemini": {"models": [{"name": "models/gpt-a"}, {"name": "models/gpt-b"}, {"name": "models/other"}]},
    "ollama": {"models": [{"name": "gpt-a"}, {"name": "gpt-b"}, {"name": "other"}]},
}


@pytest.mark.parametrize("wire", LISTINGS)
def test_models_are_listed_on_each_wire_and_only_those_that_the_grant_allows(wire: str) -> None:
    @in_trio
    async def case() -> None:
        body = json.dumps(LISTINGS[wire]).encode()
        with FaultServer(status(200, body, {"content-type": "application/json"})) as server:
            async with Host(config_for(server.url, wire=wire)) as host:
                lua = Source("return function(opts) return orcs.llm_models(opts) end")
                grant = Grant.llm(models=["gpt-*"], max_calls=0)
                answer = await (await host.load(lua, grants=[grant])).run({})
                refused = await (await host.load(lua)).run({})
                foreign = await (await host.load(lua, grants=[grant])).run({"base_url": "http://10.0.0.1"})
            assert len(server.requests) == 1
        assert (answer["ok"], answer["models"]) == (True, ["gpt-a", "gpt-b"]), answer
        assert (refused["error_kind"], foreign["error_kind"]) == ("permission_denied", "host_not_allowed")

    case()


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (status(200, b"<html>"), "parse_error"),
        (status(200, b'{"data": 5}'), "parse_error"),
        (status(200, b"[" * 100_000), "parse_error"),
        (status(200, b"x" * (5 << 20)), "too_large"),
        (status(401), "auth_error"),
        (hang, "timeout"),
    ],
)
def test_a_listing_that_is_none_is_a_kind(handler: Any, kind: str) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with Host(config_for(server.url)) as host:
                vm = await host.load(Source("return orcs.llm_models{timeout = 0.3}"), grants=[Grant.llm()])
                assert (await vm.run())["error_kind"] == kind

    case()


@in_trio
async def test_ping_says_reachable_authorized_and_never_ok_for_a_refusal() -> None:
    with EchoModel() as echo, FaultServer(status(401, b"{}")) as closed:
        for url, expected in ((echo.url, (True, True, True, 200)), (closed.url, (False, True, False, 401))):
            async with Host(config_for(url)) as host:
                vm = await host.load(Source("return orcs.llm_ping()"), grants=[Grant.llm(max_calls=0)])
                answer = await vm.run()
            assert (answer["ok"], answer["reachable"], answer["authorized"], answer["status"]) == expected
            assert answer["latency_ms"] > 0


@in_trio
async def test_answers_and_images_under_way_are_not_larger_than_what_a_vm_may_hold(tmp_path: Path) -> None:
    def endless(conn: Conn) -> None:
        if conn.read_request() is not None:
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n")
            conn.send(b'{"x": "' + b"x" * (9 << 20))
            conn.wait(60)

    script = (
        "return function() local all, images = {}, {} for n = 1, 14 do images[n] = { path = 'a.png' }\n"
        "all[n] = function() local r = orcs.llm('x', { max_retries = 0 }) error(r.error, 0) end end\n"
        "local _, told = pcall(orcs.all, all) return { told, orcs.llm('x', { images = images }).error } end"
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * (5_000_000))
    with FaultServer(endless) as server:
        async with Host(config_for(server.url)) as host:
            held = [Grant.llm(), Grant("fs.read", roots=[str(tmp_path)])]
            vm = await host.load(Source(script.replace("a.png", str(tmp_path / "a.png"))), grants=held)
            for told in await vm.run():
                assert "hold more than 67108864 bytes; make fewer at a time" in told


@in_trio
async def test_a_revoked_grant_ends_a_ping_too() -> None:
    with FaultServer(hang) as server:
        grant = Grant.llm(max_concurrency=1)
        async with Host(config_for(server.url)) as host:
            vm = await host.load(
                Source("return function() return orcs.llm_ping { timeout = 20 } end"), grants=[grant]
            )

            async def revoke() -> None:
                await trio.to_thread.run_sync(server.wait_requests, 1)
                assert grant.usage()["running"] == 0, "it takes no place"
                grant.revoke("enough")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(revoke)
                with trio.fail_after(10):
                    assert (await vm.run())["error_kind"] == "capability_revoked"
        assert grant.usage()["calls"] == 0


# ── tools as data ───────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_calls_of_the_model_come_back_as_intents_and_are_answered_with_tool_results() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local tools = {{name = 'add', parameters = {type = 'object'}}}\n"
                    "local a = orcs.llm('please\\ncall add {\"x\": 1}', {tools = tools, session_id = 's'})\n"
                    "local b = orcs.llm(nil, {tools = tools, session_id = 's', tool_results = {{id = a.intents[1].id, content = '42'}}})\n"
                    "return {a, b} end"
                ),
                grants=[Grant.llm()],
            )
            first, second = await vm.run()
            stored = json.loads(vm.sessions.dump())["s"]
    assert first["stop_reason"] == "tool_use"
    assert first["intents"][0]["name"] == "add"
    assert first["intents"][0]["params"] == {"x": 1}
    assert second["content"] == "Tool said: 42"
    assert [message["role"] for message in stored] == ["user", "assistant", "user", "assistant"]
    assert stored[1]["content"][-1]["type"] == "tool_use"
    assert stored[2]["content"][0]["type"] == "tool_result"


@in_trio
async def test_a_call_nobody_answered_is_answered_with_an_error_before_the_next_prompt() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() orcs.llm('call add {}', {tools = {{name = 'add'}}, session_id = 's'})\n"
                    "return orcs.llm('never mind', {session_id = 's'}) end"
                ),
                grants=[Grant.llm()],
            )
            await vm.run()
        roles = [message["role"] for message in echo.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
