"""Attempts: what is tried again, how often and after how long; which of the four deadlines ends what.

Servers are real and on loopback. Where we wait, time is false: it stands still, and the tests move it, so every
`seconds` below is exact.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from calls import (
    ROLE,
    SSE_HEAD,
    STEADY,
    USAGE,
    Call,
    FalseTime,
    Stepwise,
    call,
    data,
    in_false_time,
    says,
)
from servers import (
    Conn,
    FaultServer,
    hang,
    html_instead_of_json,
    openai_chunk,
    reset_midbody,
    sequence,
    status,
    unused_port,
)
from transport_tools import a_client, answers, nothing_out, ok, until
from trio_tests import in_trio

from luahost.gate.hosts import Origin
from luahost.transport.attempts import Retry
from luahost.wire.events import End, Event, Start, Text, Usage
from luahost.wire.retry import RetryPolicy

NEVER = RetryPolicy(max_retries=0)
HI = openai_chunk({"content": "hi"})
STOP = openai_chunk({}, "stop")


def often(times: int) -> RetryPolicy:
    return msgspec.structs.replace(STEADY, max_retries=times)


# ── what is tried again ─────────────────────────────────────────────────────────────────────────────────────


@in_false_time
async def test_429_503_500_200_is_four_attempts_each_shown(time_: FalseTime) -> None:
    with FaultServer(sequence([status(429), status(503), status(500), says()])) as server:
        told = await call(time_, server, policy=often(3))
    assert told.retries == [(1, 0.5, "rate_limit"), (2, 1.0, "overloaded"), (3, 2.0, "server_error")]
    assert told.outcome == (None, 4, 3.5)
    assert told.text == "hi"
    assert [type(event) for event in told.events] == [Retry, Retry, Retry, Start, Text, End]
    assert server.connections == 1, "answers that were heard to the end leave a connection to use"


@in_false_time
async def test_by_default_there_are_three_attempts_and_the_last_failure_stands(time_: FalseTime) -> None:
    with FaultServer(sequence([status(429), status(503), status(500), says()])) as server:
        told = await call(time_, server)
    assert told.outcome == ("server_error", 3, 1.5)
    assert "HTTP 500" in told.message
    assert "gave up after 3 attempts in 1.5 s" in told.message
    assert told.end.failure is not None
    assert told.end.failure.retryable


@in_false_time
async def test_the_wait_is_shortened_by_chance(time_: FalseTime) -> None:
    with FaultServer(status(500)) as server:
        told = await call(time_, server, policy=RetryPolicy(max_retries=6))
    for (_, wait_s, _), full_s in zip(told.retries, (0.5, 1, 2, 4, 8, 8), strict=True):
        assert 0.75 * full_s < wait_s < full_s
    assert told.seconds == pytest.approx(sum(wait_s for _, wait_s, _ in told.retries))


DATES = ["Tue, 14 Nov 2023 22:13:50 GMT", "Tuesday, 14-Nov-23 22:13:50 GMT", "Tue Nov 14 22:13:50 2023"]
SPELLINGS: list[tuple[dict[str, str], float]] = [
    ({"Retry-After": "7"}, 7.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"RETRY-AFTER": " 2 "}, 2.0),
    ({"Retry-After": "0.25"}, 0.25),
    ({"Retry-After": "60"}, 60.0),
    ({"Retry-After-Ms": "2500"}, 2.5),
    ({"Retry-After": "9", "retry-after-ms": "100"}, 0.1),
    *(({"Retry-After": date}, 30.0) for date in DATES),
    # none of these is a wish: our own backoff
    ({"Retry-After": "0"}, 0.5),
    ({"Retry-After": "-3"}, 0.5),
    ({"Retry-After": "nan"}, 0.5),
    ({"Retry-After": "inf"}, 0.5),
    ({"Retry-After": "1e1"}, 0.5),
    ({"Retry-After": "soon"}, 0.5),
    ({"Retry-After": ""}, 0.5),
    ({"Retry-After": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0.5),
    ({"Retry-After": "Tue, 99 Foo 2023 22:13:10 GMT"}, 0.5),
    ({"Retry-After-Ms": "-1"}, 0.5),
]


@pytest.mark.parametrize(("headers", "wait_s"), SPELLINGS)
def test_every_spelling_of_retry_after(headers: dict[str, str], wait_s: float) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(sequence([status(429, headers=headers), says()])) as server:
            told = await call(time_, server)
        assert told.outcome == (None, 2, wait_s)
        assert told.retries == [(1, wait_s, "rate_limit")]

    case()


@in_false_time
async def test_geminis_retry_info_is_a_wish_too(time_: FalseTime) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}
    body = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [info]}}).encode()
    with FaultServer(sequence([status(429, body), says()])) as server:
        told = await call(time_, server)
    assert told.outcome == (None, 2, 13.5)


@pytest.mark.parametrize(
    ("first", "attempts", "kind"),
    [
        (status(400, headers={"X-Should-Retry": "true"}), 2, None),
        (status(501, headers={"x-should-retry": "true"}), 2, None),
        (status(503, headers={"X-Should-Retry": "false"}), 1, "overloaded"),
        (status(429, headers={"x-should-retry": "FALSE", "retry-after": "1"}), 1, "rate_limit"),
        (status(503, headers={"X-Should-Retry": "maybe"}), 2, None),
        (status(400), 1, "invalid_request"),
        (status(401), 1, "auth_error"),
        (status(404), 1, "not_found"),
        (status(408), 2, None),
        (status(409), 2, None),
        (status(413), 1, "too_large"),
        (status(418), 1, "http_error"),
        (status(501), 1, "server_error"),
        (status(502), 2, None),
        (status(504), 2, None),
        (status(529), 2, None),
        (status(302, headers={"Location": "/"}), 1, "http_error"),
        (status(429, b'{"error":{"code":"insufficient_quota","message":"pay"}}'), 1, "quota"),
        (status(429, b'{"error":{"code":"insufficient_quota","message":"pay"}}', {"Retry-After": "1"}), 1, "quota"),
    ],
)
def test_the_status_and_the_servers_own_word_decide(
    first: Callable[[Conn], None], attempts: int, kind: str | None
) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(sequence([first, says()])) as server:
            told = await call(time_, server)
        assert (told.kind, told.report.attempts) == (kind, attempts)
        assert len(server.requests) == attempts

    case()


@pytest.mark.parametrize(
    ("asked", "overall_s", "words"),
    [
        ("61", float("inf"), "the server asks to wait 61 s, and at most 60 s are waited for"),
        ("3600", float("inf"), "asks to wait 3600 s"),
        ("20", 20.0, "20 s are left"),
        ("59", 10.0, "10 s are left"),
    ],
)
def test_a_wish_that_is_too_long_is_told_now(asked: str, overall_s: float, words: str) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(sequence([status(429, headers={"Retry-After": asked}), says()])) as server:
            told = await call(time_, server, overall_s=overall_s)
        assert told.outcome == ("rate_limit", 1, 0.0)
        assert told.end.failure is not None
        assert told.end.failure.retry_after_s == float(asked)
        assert words in told.message
        assert told.retries == []

    case()


@in_false_time
async def test_the_wish_holds_also_when_the_refusals_body_breaks_off(time_: FalseTime) -> None:
    broken = answers(b'HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{"error":')
    with FaultServer(sequence([broken, says()])) as server:
        told = await call(time_, server)
    assert told.retries == [(1, 7.0, "rate_limit")]


# ── content ends all trying ─────────────────────────────────────────────────────────────────────────────────


def breaks(*payloads: bytes, end: Callable[[Conn], None] = Conn.close) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.sse(payloads, end=False)
            conn.wait(0.01)
            end(conn)

    return handler


def garbled(conn: Conn) -> None:
    conn.send(b"zz\r\nwhat\r\n")
    conn.close()


@pytest.mark.parametrize("end", [Conn.close, Conn.reset, garbled])
def test_what_breaks_after_the_first_content_is_not_tried_again(end: Callable[[Conn], None]) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(breaks(ROLE, HI, end=end)) as server:
            told = await call(time_, server)
        assert told.outcome == ("stream_incomplete", 1, 0.0)
        assert told.text == "hi"
        assert "not tried again, as the answer had begun" in told.message
        assert len(server.requests) == 1

    case()


@pytest.mark.parametrize("end", [Conn.close, Conn.reset, garbled])
def test_what_breaks_before_the_first_content_is_and_nothing_of_it_is_heard(end: Callable[[Conn], None]) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(sequence([breaks(ROLE, end=end), breaks(ROLE, USAGE, end=end), says()])) as server:
            told = await call(time_, server)
        assert told.outcome == (None, 3, 1.5)
        assert [type(event) for event in told.events] == [Retry, Retry, Start, Text, End]

    case()


@in_false_time
async def test_an_error_inside_a_stream_is_tried_again_only_before_content(time_: FalseTime) -> None:
    error = b'{"error":{"type":"overloaded_error","message":"busy"}}'
    with FaultServer(sequence([breaks(ROLE, error), says()])) as server:
        assert (await call(time_, server)).outcome == (None, 2, 0.5)
    with FaultServer(sequence([breaks(ROLE, HI, error), says()])) as server:
        told = await call(time_, server)
        assert told.outcome == ("overloaded", 1, 0.0)
        assert told.text == "hi"


# ── empty answers ───────────────────────────────────────────────────────────────────────────────────────────


@in_false_time
async def test_an_empty_answer_is_tried_again_and_its_usage_counts_only_if_it_was_the_last(
    time_: FalseTime,
) -> None:
    with FaultServer(sequence([says("", usage=True), says("", usage=True), says(usage=True)])) as server:
        told = await call(time_, server)
    assert told.outcome == (None, 3, 1.5)
    assert told.retries == [(1, 0.5, "empty_response"), (2, 1.0, "empty_response")]
    assert told.usages == [Usage(input=3, output=2)]
    with FaultServer(says("", usage=True)) as server:
        told = await call(time_, server)
    assert told.outcome == ("empty_response", 3, 1.5)
    assert told.usages == [Usage(input=3, output=2)]
    assert "3 attempts" in told.message


# ── every way to break ──────────────────────────────────────────────────────────────────────────────────────


def midhead(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
        conn.wait(0.005)
        end(conn)

    return handler


def unread(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn.next_request_comes()
        end(conn)

    return handler


def endless_head(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        conn.send(b"X: " + b"y" * 1000 + b"\r\n")


def once(raw: bytes) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.send(raw)
            conn.whole = True

    return handler


BOMB = gzip.compress(bytes(20_000_000))
FAULTS: dict[str, tuple[Callable[[Conn], None], str, int]] = {
    "reset while connecting": (Conn.reset, "connection_reset", 3),
    "closed while connecting": (Conn.close, "connection_reset", 3),
    "reset while sending": (unread(Conn.reset), "connection_reset", 3),
    "no answer": (answers(b""), "connection_reset", 3),
    "closed in the head": (midhead(Conn.close), "connection_reset", 3),
    "reset in the head": (midhead(Conn.reset), "connection_reset", 3),
    "reset in the body": (reset_midbody, "connection_reset", 3),
    "closed in the body": (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), "connection_reset", 3),
    "not HTTP": (answers(b"\xff\xfegarbage\r\n\r\n"), "parse_error", 3),
    "garbage in the chunks": (
        answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "parse_error",
        3,
    ),
    "a page": (html_instead_of_json, "parse_error", 3),
    "half of a JSON": (once(ok(b'{"choices":[{"me')), "stream_incomplete", 3),
    "gzip that is none": (once(ok(b"none", "Content-Encoding: gzip")), "parse_error", 3),
    "endless headers": (endless_head, "too_large", 1),
    "a bomb": (once(ok(BOMB, "Content-Encoding: gzip", "Content-Type: application/json")), "too_large", 1),
}


@pytest.mark.parametrize("size", [2, 300_000])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_kind_and_its_number_of_attempts(name: str, size: int) -> None:
    handler, kind, attempts = FAULTS[name]

    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(handler) as server:
            told = await call(time_, server, body=b"x" * size)
        assert told.outcome == (kind, attempts, 1.5 if attempts == 3 else 0.0)
        assert told.report.reached or "connecting" in name  # its connection may never have stood
        assert "127.0.0.1" in told.message or "answer" in told.message

    case()


@pytest.mark.parametrize("name", [name for name, (_, _, attempts) in FAULTS.items() if attempts == 3])
def test_a_fault_that_passes_is_not_heard_of(name: str) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        with FaultServer(sequence([FAULTS[name][0], says()])) as server:
            told = await call(time_, server)
        assert told.outcome == (None, 2, 0.5)
        assert told.text == "hi"

    case()


@in_false_time
async def test_what_cannot_be_reached_is_not_tried_again_and_nothing_was_sent(time_: FalseTime) -> None:
    refused = await call(time_, Origin("http", "127.0.0.1", unused_port()))
    assert refused.outcome == ("connection_refused", 1, 0.0)
    assert refused.phase == "connect"
    assert not refused.report.reached
    with FaultServer(lambda conn: conn.send(b"HTTP/1.1 400 Not TLS\r\n\r\n")) as server:
        tls = await call(time_, Origin("https", "127.0.0.1", server.port))
        assert tls.outcome == ("tls", 1, 0.0)
        assert not tls.report.reached


@in_false_time
async def test_a_stale_idle_connection_costs_no_attempt(time_: FalseTime) -> None:
    def once(conn: Conn) -> None:
        if conn.read_request():
            conn.sse([HI, STOP, b"[DONE]"])
            conn.close()

    with FaultServer(once) as server:
        async with a_client() as client:
            where = Origin("http", server.host, server.port)
            for number in range(3):
                told = await Call(client, where).run()
                assert told.outcome == (None, 1, 0.0)
                await time_.real_until(lambda number=number: server.conns[number].closed)  # type: ignore[misc]
        assert len(server.requests) == 3


@in_false_time
async def test_the_report_has_the_servers_id_of_the_last_attempt(time_: FalseTime) -> None:
    first, second = status(500, headers={"X-Request-Id": "a"}), status(400, headers={"request-id": "b" * 500})
    with FaultServer(sequence([first, second])) as server:
        told = await call(time_, server)
    assert told.report.request_id == "b" * 200


# ── the four deadlines ──────────────────────────────────────────────────────────────────────────────────────


async def starved(time_: FalseTime, handler: Callable[[Conn], None], **more: Any) -> Any:
    """A call to a server that will say no more once it has the request: from then on only deadlines come."""
    with FaultServer(handler) as server:
        async with a_client() as client, trio.open_nursery() as nursery:

            async def go() -> None:
                await time_.real_until(lambda: len(server.requests) > 0)
                await time_.real_until(lambda: True)
                time_.flow()

            nursery.start_soon(go)
            told = await Call(client, Origin("http", server.host, server.port), **more).run()
        await time_.real_until(lambda: server.open_connections == 0)
    return told


@in_false_time
async def test_connect_a_system_that_is_silent(time_: FalseTime) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        await trio.to_thread.run_sync(time.sleep, 0.02)
        time_.flow()
        async with a_client() as client:
            where = Origin("http", "127.0.0.1", listener.getsockname()[1])
            told = await Call(client, where).run()
            assert told.outcome == ("timeout", 3, 5.0 * 3 + 1.5)
            assert told.phase == "connect"
            assert not told.report.reached
            told = await Call(client, where, connect_s=2.0, policy=NEVER).run()
            assert told.outcome == ("timeout", 1, 2.0)
        for filler in fillers:
            filler.close()


@in_false_time
async def test_first_token_a_server_that_never_answers(time_: FalseTime) -> None:
    told = await starved(time_, hang, policy=NEVER)
    assert told.outcome == ("timeout", 1, 300.0)
    assert told.phase == "first_token"
    assert "first_token_timeout = 300 s" in told.message


@in_false_time
async def test_first_token_is_tried_again(time_: FalseTime) -> None:
    told = await starved(time_, hang, first_token_s=10.0)
    assert told.outcome == ("timeout", 3, 10 * 3 + 1.5)
    assert told.retries == [(1, 0.5, "timeout"), (2, 1.0, "timeout")]


@in_false_time
async def test_first_token_a_server_that_never_reads(time_: FalseTime) -> None:
    def deaf(conn: Conn) -> None:
        conn.next_request_comes()
        conn.wait_peer_closed(30)

    with FaultServer(deaf) as server:
        async with a_client() as client, trio.open_nursery() as nursery:

            async def go() -> None:
                await time_.real_until(lambda: server.connections > 0)
                await trio.to_thread.run_sync(time.sleep, 0.05)
                time_.flow()

            nursery.start_soon(go)
            where = Origin("http", server.host, server.port)
            told = await Call(client, where, body=b"x" * 30_000_000, policy=NEVER).run()
            assert told.outcome == ("timeout", 1, 300.0)
            assert told.phase == "first_token"
            assert told.report.reached


def then_silence(*pieces: bytes) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        if conn.read_request():
            for piece in pieces:
                conn.send(piece)
            conn.wait_peer_closed(30)

    return handler


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (SSE_HEAD,),
        (SSE_HEAD, b": ping\n\n"),
        (SSE_HEAD, data(ROLE)),
        (SSE_HEAD, data(ROLE), data(USAGE)),
        (SSE_HEAD, b"data: {"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n", b'{"id":'),
    ],
)
def test_first_token_whatever_came_that_is_no_content(pieces: tuple[bytes, ...]) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        told = await starved(time_, then_silence(*pieces), policy=NEVER, first_token_s=40.0)
        assert told.outcome == ("timeout", 1, 40.0)
        assert told.phase == "first_token"

    case()


@in_false_time
async def test_a_refusal_whose_body_never_ends_is_still_that_refusal(time_: FalseTime) -> None:
    head = b"HTTP/1.1 503 No\r\nRetry-After: 4\r\nContent-Length: 100\r\n\r\n{"
    told = await starved(time_, then_silence(head), first_token_s=40.0, policy=often(1))
    assert told.outcome == ("overloaded", 2, 84.0)


@in_false_time
async def test_idle_a_server_that_falls_silent_in_the_middle(time_: FalseTime) -> None:
    told = await starved(time_, then_silence(SSE_HEAD, data(ROLE), data(HI)))
    assert told.outcome == ("timeout", 1, 300.0)
    assert told.phase == "idle"
    assert told.text == "hi"
    assert "idle_timeout = 300 s" in told.message
    assert "not tried again" in told.message


async def minute_by_minute(
    time_: FalseTime, first: bytes, again: bytes, minutes: int, *, pieces: bool = True, **more: Any
) -> Any:
    """After `first`, `again` once a minute, that many times; then silence."""
    handler = Stepwise()
    with FaultServer(handler) as server:
        async with a_client() as client, trio.open_nursery() as nursery:
            made = Call(client, Origin("http", server.host, server.port), **more)

            async def drip() -> None:
                handler.send(first)
                for minute in range(1, minutes + 1):
                    if pieces:
                        await time_.real_until(lambda minute=minute: made.told.pieces >= minute)  # type: ignore[misc]
                    else:
                        await trio.to_thread.run_sync(time.sleep, 0.003)
                    await time_.jump(60)
                    handler.send(again)
                await trio.to_thread.run_sync(time.sleep, 0.02)
                time_.flow()

            nursery.start_soon(drip)
            told = await made.run()
            nursery.cancel_scope.cancel()
    return told


@in_false_time
async def test_comments_are_no_first_token(time_: FalseTime) -> None:
    told = await minute_by_minute(time_, SSE_HEAD + b": hello\n\n", b": ping\n\n", 9, policy=NEVER)
    assert told.outcome == ("timeout", 1, 300.0)
    assert told.phase == "first_token"


@in_false_time
async def test_a_byte_of_the_head_a_minute_is_ended_by_first_token(time_: FalseTime) -> None:
    told = await minute_by_minute(time_, b"HTTP/1.1 200 OK\r\nX: ", b"x", 9, pieces=False, policy=NEVER)
    assert told.outcome == ("timeout", 1, 300.0)
    assert told.phase == "first_token"


@in_false_time
async def test_a_byte_of_the_body_a_minute_is_ended_by_first_token(time_: FalseTime) -> None:
    told = await minute_by_minute(time_, SSE_HEAD + b"d", b"x", 9, policy=NEVER)
    assert told.outcome == ("timeout", 1, 300.0)
    assert told.phase == "first_token"


@pytest.mark.parametrize("again", [b": ping\n\n", b"x", data(HI), data(ROLE)])
def test_whatever_comes_after_the_first_content_puts_idle_off(again: bytes) -> None:
    @in_false_time
    async def case(time_: FalseTime) -> None:
        told = await minute_by_minute(time_, SSE_HEAD + data(HI), again, 12)
        assert told.outcome == ("timeout", 1, 12 * 60 + 300.0)
        assert told.phase == "idle"

    case()


@in_false_time
async def test_a_byte_a_minute_after_content_is_ended_by_overall(time_: FalseTime) -> None:
    told = await minute_by_minute(time_, SSE_HEAD + data(HI), b"x", 12, overall_s=420.0)
    assert told.outcome == ("timeout", 1, 420.0)
    assert told.phase == "overall"
    assert told.text == "hi"


@in_false_time
async def test_a_slow_taker_is_not_a_silent_server(time_: FalseTime) -> None:
    """It takes an hour for each event; the server has long sent all."""
    with FaultServer(says("hi", usage=True)) as server:
        async with a_client() as client:

            async def slow(event: Event) -> bool:
                time_.flow()
                await trio.sleep(3600)
                return True

            told = await Call(client, Origin("http", server.host, server.port), on_event=slow).run()
    assert told.kind is None
    assert [type(event) for event in told.events] == [Start, Text, Usage, End]
    assert told.seconds == 4 * 3600


@in_false_time
async def test_a_slow_taker_holds_the_server_back(time_: FalseTime) -> None:
    """What is not taken stays in the server: the host keeps a buffer, not the stream."""
    sent = 0

    def flood(conn: Conn) -> None:
        nonlocal sent
        conn.read_request()
        conn.send(SSE_HEAD)
        piece = data(openai_chunk({"content": "x" * 1000})) * 100
        while True:
            conn.send(piece)
            sent += len(piece)

    with FaultServer(flood) as server:
        async with a_client() as client:
            stuck = trio.Event()

            async def stop(event: Event) -> bool:
                stuck.set()
                await trio.sleep_forever()
                return True

            async with trio.open_nursery() as nursery:
                made = Call(client, Origin("http", server.host, server.port), on_event=stop)
                nursery.start_soon(made.run)
                await stuck.wait()
                await trio.to_thread.run_sync(time.sleep, 0.1)
                held = sent
                await trio.to_thread.run_sync(time.sleep, 0.1)
                assert sent == held, "the server cannot send on"
                assert made.told.pieces == 1
                nursery.cancel_scope.cancel()


@in_false_time
async def test_after_its_last_word_a_server_has_two_seconds_whatever_it_sends(time_: FalseTime) -> None:
    told = await starved(time_, then_silence(SSE_HEAD, data(HI), data(STOP)))
    assert told.outcome == (None, 1, 2.0)
    handler = Stepwise()
    with FaultServer(handler) as server:
        async with a_client() as client, trio.open_nursery() as nursery:
            made = Call(client, Origin("http", server.host, server.port))

            async def ping() -> None:
                handler.send(SSE_HEAD + data(HI) + data(STOP))
                for number in range(1, 10):
                    await time_.real_until(lambda number=number: made.told.pieces >= number)  # type: ignore[misc]
                    await time_.jump(0.5)
                    handler.send(b": ping\n\n")

            time_.clock.autojump_threshold = float("inf")
            nursery.start_soon(ping)
            told = await made.run()
            assert told.outcome == (None, 1, 2.0)
            nursery.cancel_scope.cancel()


@in_false_time
async def test_overall_bounds_the_queue(time_: FalseTime) -> None:
    with FaultServer(hang) as server:
        where = Origin("http", server.host, server.port)
        async with a_client(max_connections=1) as client, trio.open_nursery() as nursery:
            nursery.start_soon(Call(client, where).run)
            await time_.real_until(lambda: len(server.requests) == 1)
            time_.flow()
            told = await Call(client, where, overall_s=30.0).run()
            assert told.outcome == ("timeout", 1, 30.0)
            assert told.phase == "overall"
            assert not told.report.reached
            nursery.cancel_scope.cancel()


@in_false_time
async def test_the_time_in_the_queue_is_reported_and_is_no_time_of_the_servers(time_: FalseTime) -> None:
    handler = Stepwise()
    with FaultServer(sequence([handler, says()])) as server:
        where = Origin("http", server.host, server.port)
        async with a_client(max_connections=1) as client, trio.open_nursery() as nursery:
            nursery.start_soon(Call(client, where).run)
            await time_.real_until(lambda: len(server.requests) == 1)
            second = Call(client, where, first_token_s=10.0)
            nursery.start_soon(second.run)
            await time_.jump(100)
            handler.send(SSE_HEAD + data(HI) + data(STOP) + data(b"[DONE]"), None)
            await time_.real_until(lambda: bool(second.told.events) and isinstance(second.told.events[-1], End))
    assert second.told.kind is None
    assert second.told.report.queue_s == 100.0


@in_false_time
async def test_overall_bounds_the_waits(time_: FalseTime) -> None:
    with FaultServer(status(503, headers={"Retry-After": "40"})) as server:
        told = await call(time_, server, overall_s=60.0)
    assert told.outcome == ("overloaded", 2, 40.0)
    assert told.end.failure is not None
    assert told.end.failure.retry_after_s == 40.0
    assert "20 s are left" in told.message
    with FaultServer(status(500)) as server:
        told = await call(time_, server, overall_s=1.2)
    assert told.outcome == ("server_error", 2, 0.5)
    assert "no time left for another attempt" in told.message


@in_false_time
async def test_overall_bounds_all_attempts_together(time_: FalseTime) -> None:
    told = await starved(time_, hang, first_token_s=10.0, overall_s=25.0)
    assert told.outcome == ("timeout", 3, 25.0)
    assert told.phase == "overall"
    assert "overall_timeout = 25 s" in told.message


@in_false_time
async def test_of_two_deadlines_the_earlier_one_is_named(time_: FalseTime) -> None:
    for limits, phase, seconds in (
        ({"first_token_s": 5.0, "overall_s": 6.0}, "first_token", 5.0),
        ({"first_token_s": 6.0, "overall_s": 5.0}, "overall", 5.0),
    ):
        time_.clock.autojump_threshold = float("inf")
        told = await starved(time_, hang, policy=NEVER, **limits)
        assert (told.phase, told.seconds) == (phase, seconds)


# ── the end comes from outside ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.alone
@in_trio
async def test_a_cancel_ends_a_wait_at_once() -> None:
    with FaultServer(status(503, headers={"Retry-After": "30"})) as server:
        async with a_client() as client:
            waiting = trio.Event()

            async def heard(event: Event) -> bool:
                waiting.set()
                return True

            made = Call(client, Origin("http", server.host, server.port), on_event=heard)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.run)
                await waiting.wait()
                await trio.sleep(0.01)
                began = time.perf_counter()
                nursery.cancel_scope.cancel()
            assert time.perf_counter() - began < 0.1
            assert [type(event) for event in made.told.events] == [Retry]


@pytest.mark.parametrize(
    ("stop_at", "heard"), [(Retry, [Retry]), (Start, [Retry, Start]), (Text, [Retry, Start, Text])]
)
def test_who_wants_no_more_hears_no_more(stop_at: type[Event], heard: list[type[Event]]) -> None:
    @in_trio
    async def case() -> None:
        policy = msgspec.structs.replace(STEADY, base_s=0.0)
        with FaultServer(sequence([status(500), says("a b c")])) as server:
            async with a_client() as client:

                async def take(event: Event) -> bool:
                    return not isinstance(event, stop_at)

                told = Call(client, Origin("http", server.host, server.port), on_event=take, policy=policy)
                await told.run()
                assert [type(event) for event in told.told.events] == heard
            await until(lambda: server.open_connections == 0)

    case()


@in_trio
async def test_an_error_of_the_taker_goes_up_and_nothing_is_left() -> None:
    with FaultServer(says()) as server:
        async with a_client() as client:

            async def take(event: Event) -> bool:
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await Call(client, Origin("http", server.host, server.port), on_event=take).run()
            nothing_out(client.transport, client.transport.free_places)
