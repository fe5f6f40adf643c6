"""Many calls, broken and cut off in every way, at once: in the end there are no sockets, no tasks, nothing taken.

LUAHOST_REQUESTS says how many: 1,500 where nothing is said, 200,000 for the long run (issue 3), about a quarter of
an hour on two cores:

    LUAHOST_REQUESTS=200000 python -m pytest tests/transport/test_soak.py -s
"""

from __future__ import annotations

import collections
import os
import random
import threading
import time

import msgspec
import pytest
import trio
from calls import Call, says
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
from transport_tools import a_client, answers, nothing_out, ok, until
from trio_tests import descriptors

from luahost.gate.hosts import Origin
from luahost.transport.client import Client
from luahost.wire.events import End, Event
from luahost.wire.retry import RetryPolicy

REQUESTS = int(os.environ.get("LUAHOST_REQUESTS", "1500"))
AT_A_TIME = 24
PLACES = 16
PER_SERVER = 1000
QUICK = RetryPolicy(base_s=0.002, max_backoff_s=0.01)


def keeps(conn: Conn) -> None:
    """A right answer, whole; the connection stays."""
    if conn.read_request():
        conn.respond(200, {"Content-Type": "application/json"}, WHOLE)


WHOLE = msgspec.json.encode(
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
)


def closes_idle(conn: Conn) -> None:
    keeps(conn)
    conn.close()


def refuses_unread(conn: Conn) -> None:
    conn.next_request_comes()
    conn.send(ok(b"{}", "Connection: close", status="413 Too Large"))


def endless(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        conn.send(b"X: " + b"y" * 1000 + b"\r\n")


FAULTS = [
    *[keeps] * 6,
    *[says("a b c", usage=True)] * 3,
    closes_idle,
    refuses_unread,
    endless,
    hang,
    reset_midbody,
    html_instead_of_json,
    cut_midstream(0),
    cut_midstream(2),
    drip_sse(4, 0.001),
    status(429, headers={"Retry-After-Ms": "3"}),
    status(503),
    status(500),
    status(401),
    answers(b""),
    answers(b"garbage"),
    answers(b"HTTP/1.1 200 OK\r\nConte"),
    answers(ok(b"none", "Content-Encoding: gzip")),
    says(""),
    Conn.reset,
]


def mixed() -> tuple[FaultServer, collections.Counter[str]]:
    """A right answer or any fault, by chance, for each request."""
    rng, seen, lock = random.Random(1), collections.Counter[str](), threading.Lock()

    def handler(conn: Conn) -> None:
        with lock:
            chosen = rng.choice(FAULTS)
            seen[getattr(chosen, "__qualname__", "")] += 1
        chosen(conn)

    return FaultServer(handler), seen


@pytest.mark.long
def test_many_calls_with_faults_and_cancels_leave_nothing() -> None:
    ends: collections.Counter[str] = collections.Counter()
    before, began, sent = descriptors(), time.perf_counter(), 0
    rng = random.Random(2)

    async def one(client: Client, where: Origin) -> None:
        call = Call(
            client,
            where,
            policy=QUICK,
            body=b"x" * rng.choice([2] * 9 + [300_000]),
            on_event=taker(rng),
            connect_s=rng.choice([0.001, 5.0, 5.0, 5.0]),
            first_token_s=rng.choice([0.05, 0.3]),
            idle_s=0.1,
            overall_s=rng.choice([0.1, 2.0]),
        )
        with trio.CancelScope() as scope:
            if rng.random() < 0.3:
                scope.deadline = trio.current_time() + rng.expovariate(200)
            await call.run()
        told = call.told
        if scope.cancelled_caught:
            ends["cancelled"] += 1
        elif not told.events or not isinstance(told.events[-1], End):
            ends["stopped by the taker"] += 1
        elif told.kind is None:
            ends["answered"] += 1
        else:
            ends[f"{told.kind} {told.phase or ''}".strip()] += 1

    async def soak() -> None:
        nonlocal sent
        nowhere = Origin("http", "127.0.0.1", unused_port())
        left = REQUESTS
        async with a_client(max_connections=PLACES) as client:
            while left > 0:
                # a server keeps all it was sent: each has a part of the calls
                server, faults = mixed()
                with server:
                    where = Origin("http", server.host, server.port)
                    until_left = max(0, left - PER_SERVER)

                    async def caller(where: Origin = where, until_left: int = until_left) -> None:
                        nonlocal left
                        while left > until_left:
                            left -= 1
                            await one(client, nowhere if rng.random() < 0.02 else where)

                    async with trio.open_nursery() as nursery:
                        for _ in range(AT_A_TIME):
                            nursery.start_soon(caller)
                    nothing_out(client.transport, PLACES)
                    assert client.transport.idle_count <= PLACES
                    assert trio.lowlevel.current_statistics().tasks_living < 10
                    await until(lambda server=server: server.open_connections <= PLACES, 10)  # type: ignore[misc]
                sent += len(server.requests)
                assert len(faults) > 8

    trio.run(soak)
    assert sum(ends.values()) == REQUESTS
    assert ends["answered"] > REQUESTS // 50, ends
    assert ends["cancelled"] > REQUESTS // 50, ends
    assert len(ends) > 8, ends
    assert descriptors() <= before, "sockets were left open"
    print(f"\n{REQUESTS} calls, {sent} requests, {time.perf_counter() - began:.0f} s: {dict(ends)}")


def taker(rng: random.Random) -> object:
    kind = rng.random()

    async def take(event: Event) -> bool:
        if kind < 0.1:
            await trio.sleep(0.002)
        return not 0.1 < kind < 0.15

    return take
