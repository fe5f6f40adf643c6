"""Budgets: reserved before a call on the whole chain, metered while it streams, settled with what the server counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from servers import FaultServer, drip_sse
from test_llm import ASK, ask, config_for
from trio_tests import echo_config, in_trio

from luahost import Config, Grant, Host, Provider, Source
from luahost.gate.ledger import Bucket, Ledger
from luahost.ops.llm.prices import cost_usd, microusd
from luahost.ops.llm.providers import Price
from luahost.testing import EchoModel
from luahost.wire.events import Usage

PRICE = Price(input=1000.0, output=2000.0)  # a tenth of a cent for a word in, two for one out


def priced(echo: EchoModel) -> Config:
    return echo_config(echo, price=PRICE)


@in_trio
async def test_usage_has_the_cost_where_a_price_is_known_and_none_where_it_is_not() -> None:
    with EchoModel() as echo:
        async with Host(priced(echo)) as host:
            known = await ask(host, "one two three")
        async with Host(echo_config(echo)) as host:
            unknown = await ask(host, "one two three")
    usage = known["usage"]
    assert usage["cost_usd"] == pytest.approx((usage["input"] * 1000 + usage["output"] * 2000) / 1e6)
    assert "cost_usd" not in unknown["usage"]


@in_trio
async def test_a_server_that_counts_nothing_gives_an_estimate_that_says_so() -> None:
    def silent(conn: Any) -> None:
        conn.read_request()
        body = {"choices": [{"message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}]}
        conn.respond(200, {"content-type": "application/json"}, json.dumps(body).encode())

    with FaultServer(silent) as server:
        async with Host(config_for(server.url)) as host:
            grant = Grant.llm(max_tokens=100)
            answer = await ask(host, "a prompt", grant=grant)
    assert answer["usage"] == {"input": 2, "output": 3, "total": 5, "estimated": True}
    assert grant.usage()["tokens"] == 5


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"max_input_tokens": 3}, "max_input_tokens"),
        ({"max_output_tokens": 3}, "max_output_tokens"),
        ({"max_cost_usd": 0.01}, "max_cost_usd"),
        ({"max_tokens": 8}, "max_tokens"),
    ],
)
def test_each_dimension_ends_by_its_own_name(limits: dict[str, Any], rule: str) -> None:
    @in_trio
    async def case() -> None:
        grant = Grant.llm(**limits)
        with EchoModel() as echo:
            async with Host(priced(echo)) as host:
                vm = await host.load(Source(ASK), grants=[grant])
                for _ in range(10):
                    answer = await vm.run({"prompt": "ab", "opts": {"max_tokens": 1}})
                    if not answer["ok"]:
                        break
                seen = await (await host.load(Source("return orcs.caps().llm"), grants=[grant])).run()
        assert (answer["error_kind"], answer["detail"]["rule"]) == ("budget_exceeded", rule), answer
        assert 1 <= grant.usage()["calls"] < 10
        assert seen["remaining"][rule.removeprefix("max_")] >= 0
        assert rule.removeprefix("max_") in seen["used"]

    case()


@in_trio
async def test_a_call_that_could_cost_too_much_is_refused_before_it_is_made() -> None:
    with EchoModel() as echo:
        async with Host(priced(echo)) as host:
            grant = Grant.llm(max_cost_usd=0.05)
            refused = await ask(host, "x", grant=grant, max_tokens=100)  # 20 cents at worst
            assert echo.calls == 0
            within = await ask(host, "x", grant=grant)  # no limit of its own: gets one that fits
            sent = echo.requests[0].body["max_tokens"]
    assert (refused["error_kind"], refused["detail"]["rule"]) == ("budget_exceeded", "max_cost_usd")
    assert within["ok"] and sent <= 25
    assert grant.usage()["cost_usd"] == pytest.approx(within["usage"]["cost_usd"])
    assert grant.remaining()["cost_usd"] == pytest.approx(0.05 - within["usage"]["cost_usd"])


@in_trio
async def test_a_budget_in_dollars_refuses_a_model_without_a_price_but_not_a_server_of_ones_own(
    monkeypatch: Any = None,
) -> None:
    import os

    os.environ["LUAHOST_TEST_KEY"] = "sk-test"
    try:
        with EchoModel() as echo:
            async with Host(echo_config(echo, key_env="LUAHOST_TEST_KEY", model="nobody-knows")) as host:
                hosted = await ask(host, "x", grant=Grant.llm(max_cost_usd=1))
                may = Source("return {orcs.can('llm')}")
                can, decision = await (await host.load(may, grants=[Grant.llm(max_cost_usd=1)])).run()
                assert (can, decision["rule"]) == (False, "max_cost_usd")
                assert echo.calls == 0
            async with Host(echo_config(echo)) as host:
                own = await ask(host, "x", grant=Grant.llm(max_cost_usd=1))
    finally:
        del os.environ["LUAHOST_TEST_KEY"]
    assert (hosted["error_kind"], hosted["detail"]["rule"]) == ("budget_exceeded", "max_cost_usd")
    assert "price" in hosted["error"]
    assert own["ok"]


@in_trio
async def test_two_children_race_for_the_last_cent_and_one_wins() -> None:
    with EchoModel(delay_s=0.02) as echo:
        async with Host(priced(echo)) as host:
            parent = Grant.llm(max_cost_usd=0.03)
            children = [parent.attenuate(), parent.attenuate(max_calls=5)]
            answers: list[dict[str, Any]] = []

            async def one(grant: Grant) -> None:
                answers.append(await ask(host, "x", grant=grant, max_tokens=10))  # 2.1 cents

            async with trio.open_nursery() as nursery:
                for child in children:
                    nursery.start_soon(one, child)
    assert sorted(answer["ok"] for answer in answers) == [False, True]
    assert parent.usage()["cost_usd"] == sum(child.usage().get("cost_usd", 0) for child in children)


@pytest.mark.alone
@pytest.mark.parametrize("limits", [{"max_output_tokens": 20}, {"max_tokens": 20}, {"max_cost_usd": 0.02}])
def test_a_stream_that_runs_over_its_budget_is_cut_and_the_session_is_as_it_was(limits: dict[str, Any]) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(drip_sse(None, 0.002)) as server:  # it never ends, whatever max_tokens says
            async with Host(config_for(server.url, price=PRICE)) as host:
                grant = Grant.llm(**limits)
                vm = await host.load(
                    Source(
                        "return function() local n = 0 local r = orcs.llm('x', {session_id = 's', on_delta = function(t) n = n + #t end})\n"
                        "return {r, n, orcs.llm('y', {session_id = 's'})} end"
                    ),
                    grants=[grant],
                )
                cut, heard, again = await vm.run()
                assert await trio.to_thread.run_sync(server.conns[0].wait_peer_closed, 1.0) < 0.5
                assert json.loads(vm.sessions.dump()) == {}
        rule = next(iter(limits))
        assert (cut["error_kind"], cut["detail"]["rule"]) == ("budget_exceeded", rule), cut
        assert cut["detail"]["billed"] == "yes"
        assert 0 < heard <= len(cut["detail"]["partial"]) < 600
        assert cut["usage"]["estimated"] is True
        assert again["error_kind"] == "budget_exceeded"

    case()


@in_trio
async def test_a_server_that_keeps_the_limit_is_not_cut() -> None:
    words = " ".join("seventy" for _ in range(50))  # a token each, as long as they get on average
    with EchoModel(reply=lambda messages: words) as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source("return orcs.llm('x', {on_delta = function() end, max_tokens = 60})"),
                grants=[Grant.llm(max_output_tokens=60)],
            )
            answer = await vm.run()
    assert answer["ok"], answer
    assert answer["content"] == words


@in_trio
async def test_max_tokens_per_call_is_sent_where_a_script_says_nothing() -> None:
    with EchoModel(reply=lambda messages: "a b c d e f g h") as echo:
        async with Host(echo_config(echo)) as host:
            answer = await ask(host, "x", grant=Grant.llm(max_tokens_per_call=3))
        assert echo.requests[0].body["max_tokens"] == 3
    assert answer["truncated"] is True and answer["stop_reason"] == "max_tokens"


@in_trio
async def test_max_tool_turns_counts_rounds_in_a_row_and_the_session_stays_whole() -> None:
    with EchoModel(reply=lambda messages: "fine") as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(
                Source(
                    "return function() local tools = {{name = 'look', parameters = {type = 'object'}}}\n"
                    "local r = orcs.llm('call look {}', {session_id = 's', tools = tools})\n"
                    "local a = orcs.llm('call look {}', {session_id = 's', tools = tools, tool_results = {{id = r.intents[1].id, content = '1'}}})\n"
                    "local b = orcs.llm(nil, {session_id = 's', tools = tools, tool_results = {{id = a.intents[1].id, content = '2'}}})\n"
                    "return {a, b, orcs.llm('hello', {session_id = 's'})} end"
                ),
                grants=[Grant.llm(max_tool_turns=1)],
            )
            first, second, after = await vm.run()
    assert first["ok"], first
    assert (second["error_kind"], second["detail"]["rule"]) == ("budget_exceeded", "max_tool_turns")
    assert after["ok"], after


@in_trio
async def test_max_timeout_s_bounds_a_call_whatever_the_script_says() -> None:
    with FaultServer(drip_sse(None, 0.02)) as server:
        async with Host(config_for(server.url)) as host:
            answer = await ask(host, "x", grant=Grant.llm(max_timeout_s=0.2), overall_timeout=60)
    assert (answer["error_kind"], answer["detail"]["phase"]) == ("timeout", "overall")


@in_trio
async def test_a_rate_lets_so_many_through_and_says_when_the_next_fits() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm(rate="2/h")])
            answers = [await vm.run({"prompt": "x", "opts": {}}) for _ in range(3)]
        assert echo.calls == 2
    last = answers[2]
    assert (last["error_kind"], last["detail"]["rule"], last["retryable"]) == ("budget_exceeded", "rate", True)
    assert 1700 < last["detail"]["retry_after_s"] <= 1800


def test_a_bucket_fills_again_and_time_that_goes_back_adds_nothing() -> None:
    ledger = Ledger(rate=(2, 1.0))
    bucket = ledger.bucket
    assert isinstance(bucket, Bucket)
    for now in (10.0, 10.0):
        assert bucket.wait_s(now) == 0
        bucket.take()
    assert bucket.wait_s(10.0) == pytest.approx(0.5)
    assert bucket.wait_s(5.0) == pytest.approx(0.5)
    assert bucket.wait_s(10.25) == pytest.approx(0.25)
    assert bucket.wait_s(10.5) == 0
    assert bucket.wait_s(1e9) == 0
    for _ in range(2):
        bucket.take()
    assert bucket.wait_s(1e9) > 0  # a long rest is worth no more than the bucket holds


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -1.0])
def test_a_cost_that_is_no_number_poisons_nothing(said: float) -> None:
    provider = Provider(name="p", base_url="http://localhost:1", price=PRICE)
    usage = Usage(input=10, output=10, cost_usd=said)
    assert cost_usd(provider, "m", usage) == pytest.approx(0.03)
    assert microusd(provider, "m", usage) == 30_000
    unknown = Provider(name="p", base_url="http://localhost:1", key_env="X")
    assert cost_usd(unknown, "nobody-knows-this", usage) is None
    assert microusd(unknown, "nobody-knows-this", usage) is None


def test_the_table_of_prices_is_asked_where_it_is_installed() -> None:
    pytest.importorskip("genai_prices")
    from luahost.ops.llm.providers import PROVIDERS

    usage = Usage(input=1000, output=100, cache_read=500)
    for name, model in (
        ("openai", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-20250514"),
        ("gemini", "gemini-2.5-flash"),
    ):
        cost = cost_usd(PROVIDERS[name], model, usage)
        assert cost is not None and 0 < cost < 0.1, name
    assert cost_usd(PROVIDERS["openai"], "no-such-model", usage) is None
    assert cost_usd(PROVIDERS["ollama"], "llama3.2", usage) is None


@in_trio
async def test_compact_at_says_when_a_session_has_grown_long() -> None:
    with EchoModel() as echo:
        async with Host(echo_config(echo)) as host:
            vm = await host.load(Source(ASK), grants=[Grant.llm()])
            said = [
                (await vm.run({"prompt": "one two three", "opts": {"session_id": "s", "compact_at": 15}}))[
                    "should_compact"
                ]
                for _ in range(3)
            ]
    assert said == [False, True, True]


@in_trio
async def test_failures_say_how_often_they_were_tried_and_whether_they_cost() -> None:
    from servers import cut_midstream, hang, status, unused_port

    cases: list[tuple[Any, dict[str, Any], int, str]] = [
        (status(500, b"oops"), {"max_retries": 1}, 2, "no"),
        (cut_midstream(3), {"stream": True}, 1, "yes"),
        (hang, {"first_token_timeout": 0.05, "max_retries": 0}, 1, "unknown"),
    ]
    for handler, opts, attempts, billed in cases:
        with FaultServer(handler) as server:
            async with Host(config_for(server.url)) as host:
                answer = await ask(host, "x", **opts)
        assert (answer["detail"]["attempts"], answer["detail"]["billed"]) == (attempts, billed), answer
        assert answer["attempts"] == attempts
    async with Host(config_for(f"http://127.0.0.1:{unused_port()}")) as host:
        answer = await ask(host, "x")
    assert (answer["detail"]["attempts"], answer["detail"]["billed"]) == (1, "no")
