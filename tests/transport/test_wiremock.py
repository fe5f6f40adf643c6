"""Against WireMock: faults and scenarios as other people make them, for the transport and for a whole host.

Where we wait the clock is false; where WireMock waits or dribbles, time is real.
"""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from calls import STEADY, Call, FalseTime, call, in_false_time
from servers import OPENAI_END, openai_delta
from third_party import WireMock
from transport_tools import a_client
from trio_tests import in_trio

from luahost import Config, Grant, Host, Provider, Source
from luahost.wire.retry import RetryPolicy

PATH = "/v1/chat/completions"
SSE = b"".join(b"data: %s\n\n" % payload for payload in (*map(openai_delta, "abcdefghij"), *OPENAI_END)).decode()
WHOLE = json.dumps({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]})
ANSWER = {"status": 200, "headers": {"Content-Type": "application/json"}, "body": WHOLE}
STREAM = {"status": 200, "headers": {"Content-Type": "text/event-stream"}, "body": SSE}
FOUR = RetryPolicy(max_retries=3, jitter=0.0)


def status(code: int, **headers: str) -> dict[str, object]:
    return {"status": code, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}


def test_429_503_500_200(wiremock: WireMock) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        wiremock.expect(PATH, status(429), status(503), status(500), ANSWER)
        told = await call(time_, wiremock.origin, policy=FOUR)
        assert told.retries == [(1, 0.5, "rate_limit"), (2, 1.0, "overloaded"), (3, 2.0, "server_error")]
        assert (told.outcome, told.text) == ((None, 4, 3.5), "hi")
        assert len(wiremock.times(PATH)) == 4

    case()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "3"}, 3.0),
        ({"Retry_After_Ms": "1500"}, 1.5),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
    ],
)
def test_its_retry_after_is_kept_to(wiremock: WireMock, headers: dict[str, str], wait_s: float) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        wiremock.expect(PATH, status(429, **headers), ANSWER)
        assert (await call(time_, wiremock.origin)).outcome == (None, 2, wait_s)

    case()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("CONNECTION_RESET_BY_PEER", "connection_reset"),
        ("EMPTY_RESPONSE", "connection_reset"),
        ("MALFORMED_RESPONSE_CHUNK", "parse_error"),
        ("RANDOM_DATA_THEN_CLOSE", "parse_error"),
    ],
)
def test_a_fault_has_its_kind_is_tried_again_and_may_pass(wiremock: WireMock, fault: str, kind: str) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        wiremock.expect(PATH, {"fault": fault})
        assert (await call(time_, wiremock.origin)).outcome == (kind, 3, 1.5)
        wiremock.reset()
        wiremock.expect(PATH, {"fault": fault}, ANSWER)
        told = await call(time_, wiremock.origin)
        assert (told.outcome, told.text) == ((None, 2, 0.5), "hi")
        assert len(wiremock.times(PATH)) == 2

    case()


@in_trio
async def test_a_dribbled_stream_is_heard_and_a_longer_one_is_ended_by_overall(wiremock: WireMock) -> None:
    dribbled = STREAM | {"chunkedDribbleDelay": {"numberOfChunks": 12, "totalDuration": 240}}
    wiremock.expect(PATH, dribbled)
    async with a_client() as client:
        told = await Call(client, wiremock.origin, idle_s=0.2).run()
        assert (told.kind, told.text) == (None, "abcdefghij")
        assert told.seconds > 0.15
        assert told.pieces > 3
        told = await Call(client, wiremock.origin, overall_s=0.12).run()
        assert (told.kind, told.phase, told.report.attempts) == ("timeout", "overall", 1)
        assert "abcdefghij".startswith(told.text) and told.text != "abcdefghij"
        assert told.seconds == pytest.approx(0.12, abs=0.05)


@in_trio
async def test_a_server_that_takes_its_time_is_ended_by_first_token_as_often_as_it_is_tried(
    wiremock: WireMock,
) -> None:
    wiremock.expect(PATH, ANSWER | {"fixedDelayMilliseconds": 2000})
    async with a_client() as client:
        policy = msgspec.structs.replace(STEADY, base_s=0.01)
        told = await Call(client, wiremock.origin, first_token_s=0.1, policy=policy).run()
    assert (told.kind, told.phase, told.report.attempts) == ("timeout", "first_token", 3)
    assert told.seconds == pytest.approx(0.33, abs=0.15)


@in_trio
async def test_through_the_host_a_call_is_one_call_however_often_it_was_tried(wiremock: WireMock) -> None:
    wiremock.expect(
        PATH, status(429), {"fault": "CONNECTION_RESET_BY_PEER"}, status(500, retry_after="0.2"), ANSWER
    )
    retry = RetryPolicy(base_s=0.02, max_retries=5)
    made = Provider(name="w", base_url=wiremock.url, model="m", retry=retry)
    records: list[dict[str, object]] = []
    async with Host(Config(providers={"w": made}, provider="w"), audit=records.append) as host:
        grant = Grant.llm(max_calls=1)
        vm = await host.load(Source("return orcs.llm('hello')"), grants=[grant])
        began = time.perf_counter()
        answer = await vm.run()
        assert time.perf_counter() - began < 2
    assert (answer["ok"], answer["content"], answer["attempts"]) == (True, "hi", 4)
    times = wiremock.times(PATH)
    assert len(times) == 4
    assert times[3] - times[2] > 0.18, "no sooner than it asked"
    assert (grant.ledger.used["calls"], grant.ledger.reserved["calls"]) == (1, 0)
    assert [(record["decision"], record["attempts"]) for record in records] == [("allow", 4)]
