"""Many calls, broken and cut off in every way, at once: in the end there are no sockets, no tasks, nothing reserved.

The calls are those of several VMs, whole: bridge, gate, ledger, op, attempts, transport. Only Lua is left out: what a
VM would say, this file says. LUAHOST_REQUESTS says how many: 1,500 where nothing is said, 200,000 for the long run
(issue 3), half an hour on two cores:

    LUAHOST_REQUESTS=200000 python -m pytest tests/transport/test_soak.py -s
"""

from __future__ import annotations

import collections
import os
import random
import threading
import time
from typing import Any

import msgspec
import pytest
import trio
from calls import says
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
from transport_tools import answers, nothing_out, ok, until
from trio_tests import descriptors

from luahost import Grant, Limits, Provider
from luahost.bridge.calls import Bridge
from luahost.bridge.journal import Journal, Trail
from luahost.bridge.ladder import Ladder
from luahost.ops.world import Share, World
from luahost.transport.settings import TransportSettings
from luahost.vm import protocol
from luahost.wire.retry import RetryPolicy

REQUESTS = int(os.environ.get("LUAHOST_REQUESTS", "1500"))
VMS, AT_A_TIME = 4, 6
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


class Vm:
    """A VM's side of its bridge: asks, takes what is streamed, hears the answer."""

    limits = Limits()

    def __init__(self, world: World, nursery: trio.Nursery, grant: Grant, rng: random.Random) -> None:
        self._nursery, self._rng = nursery, rng
        self._last = 0
        self._waiting: dict[int, tuple[trio.Event, list[Any]]] = {}
        self.grant = grant
        ladder = Ladder("vm", Share(world, {}, None), Trail(Journal(None), "vm", world.now_s))
        ladder.grant(grant)
        self.bridge = Bridge(ladder, self, nursery)  # type: ignore[arg-type]

    async def call(self, prompt: str, cut_s: float, streamed: bool, **opts: Any) -> dict[str, Any] | None:
        """The result; None when nobody waited for it any more after `cut_s`."""
        self._last += 1
        id, came, result = self._last, trio.Event(), []
        self._waiting[id] = (came, result)
        args = msgspec.msgpack.encode({"opts": opts, "prompt": prompt, "streamed": streamed})
        self.bridge.begin(protocol.Call(id, id, b"llm", msgspec.Raw(args)))
        with trio.move_on_after(cut_s):
            await came.wait()
        if not result:
            self.bridge.drop(id)
        del self._waiting[id]
        return result[0] if result else None

    def send(self, message: bytes) -> None:
        """Port.send"""
        verb, _, id = protocol._MESSAGE.unpack_from(message)
        if verb == protocol.EVENTS:
            self._nursery.start_soon(self._take, id)
        else:
            assert verb == protocol.REPLY
            if id in self._waiting:  # else it was on its way when the call was dropped
                came, result = self._waiting[id]
                result.append(protocol.decode(message[protocol._MESSAGE.size :]))
                came.set()

    async def _take(self, id: int) -> None:
        chance = self._rng.random()
        await trio.sleep(0.002 if chance < 0.1 else 0)
        self.bridge.ack(protocol.Ack(id, not 0.1 < chance < 0.15))


@pytest.mark.long
def test_many_calls_with_faults_and_cancels_leave_nothing() -> None:
    ends: collections.Counter[str] = collections.Counter()
    before, began, sent = descriptors(), time.perf_counter(), 0
    rng = random.Random(2)
    grant = Grant.llm(max_calls=10**9, max_tokens=10**12, max_concurrency=2 * VMS * AT_A_TIME)

    async def one(vm: Vm) -> None:
        if rng.random() < 0.005:
            vm.bridge.ladder.revoke("llm")
            vm.bridge.ladder.grant(vm.grant)
        result = await vm.call(
            "x" * rng.choice([2] * 9 + [70_000]),
            cut_s=rng.expovariate(200) if rng.random() < 0.3 else 60.0,
            streamed=rng.random() < 0.7,
            provider="nowhere" if rng.random() < 0.02 else "faults",
            connect_timeout=rng.choice([0.001, 5.0, 5.0, 5.0]),
            first_token_timeout=rng.choice([0.05, 0.3]),
            idle_timeout=0.1,
            overall_timeout=rng.choice([0.1, 2.0]),
        )
        if result is None:
            ends["cancelled"] += 1
        elif result["ok"]:
            ends["answered" if result["stop_reason"] != "cancelled" else "stopped by the taker"] += 1
        else:
            ends[f"{result['error_kind']} {result.get('detail', {}).get('phase') or ''}".strip()] += 1

    async def soak() -> None:
        nonlocal sent
        providers: dict[str, Provider] = {}
        world = World(providers, "faults", "m", random.Random(3), TransportSettings(max_connections=PLACES))

        def listens(name: str, port: int) -> None:
            providers[name] = Provider(name=name, base_url=f"http://127.0.0.1:{port}", model="m", retry=QUICK)

        listens("nowhere", unused_port())
        transport = (await world.client()).transport
        left = REQUESTS
        while left > 0:
            # a server keeps all it was sent, a VM all it was told: each has a part of the calls
            server, faults = mixed()
            with server:
                listens("faults", server.port)
                until_left = max(0, left - PER_SERVER)

                async def caller(vm: Vm, until_left: int = until_left) -> None:
                    nonlocal left
                    while left > until_left:
                        left -= 1
                        await one(vm)

                async with trio.open_nursery() as nursery, trio.open_nursery() as callers:
                    for _ in range(VMS):
                        vm = Vm(world, nursery, grant, rng)
                        for _ in range(AT_A_TIME):
                            callers.start_soon(caller, vm)
                nothing_out(transport, PLACES)
                assert transport.idle_count <= PLACES
                assert trio.lowlevel.current_statistics().tasks_living < 10
                assert not grant.ledger.flights and not grant.ledger.running
                assert not any(grant.ledger.reserved.values()), grant.ledger.reserved
                await until(lambda server=server: server.open_connections <= PLACES, 10)  # type: ignore[misc]
            sent += len(server.requests)
            assert len(faults) > 8
        await world.close()

    trio.run(soak)
    assert sum(ends.values()) == REQUESTS
    assert ends["answered"] > REQUESTS // 50, ends
    assert ends["cancelled"] > REQUESTS // 50, ends
    assert len(ends) > 8, ends
    assert descriptors() <= before, "sockets were left open"
    print(f"\n{REQUESTS} calls, {sent} requests, {time.perf_counter() - began:.0f} s: {dict(ends)}")
