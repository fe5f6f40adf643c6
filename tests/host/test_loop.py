"""The event loop is not late, whatever a script does: no pass of it is held for longer than MAY_HOLD_S.

The measure is the CPU time of the loop's own thread in one pass (holding.py): it does not depend on what else the
machine does. Who calls here is a worker that was taken over: it says what no script could, and all at once.
"""

from __future__ import annotations

import gc
import gzip
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from holding import Caller, Held
from trio_tests import in_trio

from luahost import Grant, Host, HostFault, Limits, Source, Stopped
from luahost.bridge.syscalls import SYSCALLS
from luahost.config import Config
from luahost.ops.llm.providers import PROVIDERS, Provider
from luahost.pace import LET_IN, Pace
from luahost.testing import EchoModel
from luahost.testing.loopback import LoopbackServer

MAY_HOLD_S = 0.025
AT_ONCE = 1000
pack = msgspec.msgpack.encode

MATTER = "---\n" + "a: [1, 2, 3]\nb: {c: d}\n" + "".join(f"key{n}: value\n" for n in range(20)) + "---\nbody"

FLOODS: dict[str, Any] = {
    "event.emit": {"category": "c", "operation": "o", "payload": {"a": 1}},
    "frontmatter.parse": {"text": MATTER},
    "caps": None,
    "module": {"name": "x"},
    "read": {"path": "a.txt"},
    "grep": {"pattern": "h", "path": "."},
    "mv": {"src": "a", "dst": "b"},
    "http": {"method": "GET", "url": "http://127.0.0.1:1/"},
    "mcp_servers": {},
    "llm": {"opts": {}, "prompt": "hi"},
    "request_capability": {"kind": "llm"},
    "spawn_child": {"opts": {}},
}
"""Operation → arguments that many calls of it at once bring."""


@asynccontextmanager
async def a_host(root: Path) -> AsyncIterator[tuple[Host, list[Grant]]]:
    """A host with a model, and grants of everything."""
    (root / "a.txt").write_text("hello\n" * 10)
    with EchoModel() as echo:
        provider = Provider(name="echo", base_url=echo.url, model="echo-1")
        config = Config(providers={**PROVIDERS, "echo": provider}, provider="echo")
        async with Host(config, audit=lambda record: None, output=lambda vm, kind, text: None) as host:
            files = [Grant(kind, roots=[str(root)]) for kind in ("fs.read", "fs.write", "fs.delete")]
            yield (
                host,
                [
                    Grant.llm(providers=["echo"]),
                    Grant.spawn(max_tree=12),
                    *files,
                    Grant("exec"),
                    Grant("http", hosts=["127.0.0.1:1"]),
                    Grant("mcp"),
                ],
            )


async def held_s(
    host: Host,
    grants: list[Grant],
    calls: list[tuple[str, bytes]],
    held: Held | None = None,
    history: str | None = None,
) -> float:
    """The CPU that the longest pass took while these calls came at once, and were answered."""
    zygote, caller = host._pool._zygote, Caller(calls)
    host._pool._zygote = caller  # type: ignore[assignment]
    try:
        vm = await host.load(Source("return {}"), grants=grants, limits=Limits(cpu_s=60))
    finally:
        host._pool._zygote = zygote
    if history is not None:
        vm.sessions.load(history)
    gc.disable()  # a collection takes 15 ms for each 50,000 objects that live, and comes when it comes
    held = Held() if held is None else held
    try:
        with held:
            await vm.run()
    finally:
        gc.enable()
        await vm.close()
    assert len(caller.replies) == len(calls)
    return held.worst_s


async def least_held_s(
    host: Host, grants: list[Grant], calls: list[tuple[str, bytes]], history: str | None = None
) -> float:
    """Of a few tries: others empty this processor's caches, which costs CPU too."""
    least_s = math.inf
    for _ in range(4):
        least_s = min(least_s, await held_s(host, grants, calls, history=history))
        if least_s < MAY_HOLD_S:
            break
    return least_s


@pytest.mark.parametrize("op", FLOODS)
@in_trio
async def test_many_calls_at_once_do_not_hold_the_loop(op: str, tmp_path: Path) -> None:
    assert op in SYSCALLS
    async with a_host(tmp_path) as (host, grants):
        many = 300 if op == "frontmatter.parse" else AT_ONCE  # one after another, and each is paid for in time
        held = await least_held_s(host, grants, [(op, pack(FLOODS[op]))] * many)
    assert held < MAY_HOLD_S, f"{op}: a pass of the loop took {held * 1e3:.1f} ms"


@in_trio
async def test_a_thousand_refusals_at_once_do_not_hold_the_loop(tmp_path: Path) -> None:
    async with a_host(tmp_path) as (host, _):
        held = await least_held_s(host, [], [("llm", pack(FLOODS["llm"]))] * AT_ONCE)
    assert held < MAY_HOLD_S, f"a pass of the loop took {held * 1e3:.1f} ms"


# ── one call that is large ──────────────────────────────────────────────────────────────────────────────

VALUE_BYTES = 8 * 1024 * 1024 - 2000
TEXT = "x" * VALUE_BYTES
TURN = '{"role":"user","content":"%s"}'
SCHEMA = {"type": "object", "properties": {f"k{n}": {"type": "string"} for n in range(16_000)}}


def _items(item: bytes) -> bytes:
    """An encoded list of as many of these as a frame has room for: no VM would send it."""
    return b"\xdd" + VALUE_BYTES.to_bytes(4, "big") + item * VALUE_BYTES


def _sessions(turn: str) -> str:
    return '{"s":[' + ",".join([turn] * (VALUE_BYTES // (len(turn) + 1))) + "]}"


LARGE: dict[str, tuple[str, Callable[[], Any]]] = {
    "a long name": ("mcp_servers", lambda: {"server": TEXT}),
    "a long kind": ("request_capability", lambda: {"kind": TEXT}),
    "a long URL": ("http", lambda: {"method": "GET", "url": TEXT}),
    "a long prompt": ("llm", lambda: {"opts": {}, "prompt": TEXT[: 1 << 22]}),
    "front matter before a long text": ("frontmatter.parse", lambda: {"text": MATTER + TEXT[: -len(MATTER)]}),
    "a session of short turns": ("sessions.load", lambda: {"json": _sessions(TURN % TEXT[:20])}),
    "a session of ordinary turns": ("sessions.load", lambda: {"json": _sessions(TURN % TEXT[:1500])}),
    "many sessions": ("sessions.load", lambda: {"json": '{"' + '":[],"'.join(map(str, range(10_000))) + '":[]}'}),
    "a schema of many members": ("llm", lambda: {"opts": {"response_schema": SCHEMA}, "prompt": "x"}),
    "many tools": ("llm", lambda: {"opts": {"tools": [{"name": f"t{n}"} for n in range(20_000)]}, "prompt": "x"}),
}


@pytest.mark.parametrize("what", LARGE)
@in_trio
async def test_a_call_of_the_largest_size_does_not_hold_the_loop(what: str, tmp_path: Path) -> None:
    op, args = LARGE[what]
    async with a_host(tmp_path) as (host, grants):
        held = await least_held_s(host, grants, [(op, pack(args()))])
    assert held < MAY_HOLD_S, f"{what}: a pass of the loop took {held * 1e3:.1f} ms"


@pytest.mark.parametrize("item", [b"\x90", b"A"], ids=["lists", "numbers"])
@in_trio
async def test_a_step_of_very_many_items_ends_its_worker_and_does_not_hold_the_loop(
    item: bytes, tmp_path: Path
) -> None:
    args = b"\x81\xa7message" + _items(item)
    async with a_host(tmp_path) as (host, _):
        least_s = math.inf
        for _ in range(4):
            with pytest.raises(HostFault, match="items"):
                await held_s(host, [], [("child.run", args)], least := Held())
            least_s = min(least_s, least.worst_s)
    assert least_s < MAY_HOLD_S, f"a pass of the loop took {least_s * 1e3:.1f} ms"


@pytest.mark.parametrize("op", ["list", "get", "dump", "older", "trim"])
@in_trio
async def test_a_session_of_the_largest_size_does_not_hold_the_loop(op: str, tmp_path: Path) -> None:
    history = '{"s":[' + ",".join([TURN % TEXT[:700]] * 10_000) + "]}"
    opts = {"max_messages": 5} if op == "trim" else {}
    args = None if op == "list" else {"id": "s", "keep_turns": 1, "opts": opts}
    async with a_host(tmp_path) as (host, grants):
        held = await least_held_s(host, grants, [(f"sessions.{op}", pack(args))], history)
    assert held < MAY_HOLD_S, f"a pass of the loop took {held * 1e3:.1f} ms"


@in_trio
async def test_a_request_with_a_long_history_does_not_hold_the_loop(tmp_path: Path) -> None:
    history = '{"s":[' + ",".join([TURN % TEXT[:1000]] * 10_000) + "]}"
    args = {"opts": {"session_id": "s"}, "prompt": "x"}
    async with a_host(tmp_path) as (host, grants):
        held = await least_held_s(host, grants, [("llm", pack(args))], history)
    assert held < MAY_HOLD_S, f"a pass of the loop took {held * 1e3:.1f} ms"


def test_where_no_pace_is_kept_everything_is_done_at_once() -> None:
    pace, done = Pace(), list[int]()
    for number in range(3 * LET_IN):
        pace.soon("somebody", partial(done.append, number))
    assert done == list(range(3 * LET_IN))


# ── a server that lies ──────────────────────────────────────────────────────────────────────────────────


class Says(LoopbackServer):
    """A server that says the same bytes to whoever asks, and closes."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self._said = said

    def serve_connection(self, sock: socket.socket) -> None:
        with suppress(OSError):
            sock.recv(1 << 16)
            sock.sendall(self._said)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1 << 16)


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
BODY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
DELTA = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CALLS = b",".join(b'{"index":%d,"id":"1","function":{"name":"f","arguments":""}}' % n for n in range(60_000))

LIES: dict[str, bytes] = {
    "a hundred thousand events": STREAM + b"\r\n" + DELTA * 100_000 + END,
    "events that say nothing": STREAM + b"\r\n" + b"data: {}\n\n" * 60_000 + END,
    "a compressed burst": STREAM + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(DELTA * 100_000 + END, 1),
    "a line without end": STREAM + b"\r\n" + b"data: " + b"x" * 12_000_000,
    "very many calls": STREAM
    + b"\r\n"
    + b'data: {"choices":[{"delta":{"tool_calls":['
    + CALLS
    + b"]}}]}\n\n"
    + END,
    "a body of empty tables": BODY + b'{"choices":[' + b"{}," * 2_900_000 + b"{}]}",
}


@pytest.mark.parametrize("lie", LIES)
@in_trio
async def test_no_answer_of_a_server_holds_the_loop(lie: str) -> None:
    with Says(LIES[lie]) as server:
        provider = Provider(name="liar", base_url=server.url, model="m")
        config = Config(providers={**PROVIDERS, "liar": provider}, provider="liar")
        async with Host(config, audit=lambda record: None) as host:
            args = {"opts": {"stream": True, "max_retries": 0}, "prompt": "x", "streamed": True}
            held = await least_held_s(host, [Grant.llm()], [("llm", pack(args))])
    assert held < MAY_HOLD_S, f"{lie}: a pass of the loop took {held * 1e3:.1f} ms"


@in_trio
async def test_a_thousand_calls_that_end_at_once_do_not_hold_the_loop() -> None:
    zygote = Caller([("clock.sleep", pack(60.0))] * AT_ONCE)
    async with Host() as host:
        own, host._pool._zygote = host._pool._zygote, zygote  # type: ignore[assignment]
        vm = await host.load(Source("return {}"))
        host._pool._zygote = own
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(Stopped):
                    await vm.run()

            nursery.start_soon(run)
            while len(vm.waiting_for) < AT_ONCE:  # noqa: ASYNC110 - no event tells of it
                await trio.sleep(0.01)
            with Held() as held:
                await vm.close()
                await trio.sleep(0.1)
    assert held.worst_s < MAY_HOLD_S, f"a pass of the loop took {held.worst_s * 1e3:.1f} ms"


# ── whose turn it is ────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_who_comes_with_one_thing_does_not_wait_for_who_comes_with_hundreds() -> None:
    pace, done = Pace(), list[str]()

    async def work(owner: str) -> None:
        await trio.lowlevel.checkpoint()
        await pace.turn(owner)
        busy_until_s = time.perf_counter() + 0.001
        while time.perf_counter() < busy_until_s:
            pass
        done.append(owner)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run)
        async with trio.open_nursery() as workers:
            for _ in range(300):
                workers.start_soon(work, "many")
            await trio.sleep(0.02)
            workers.start_soon(work, "one")
        nursery.cancel_scope.cancel()
    place = done.index("one")
    assert len(done) == 301
    assert 5 < place < 100, f"it was number {place}"


@in_trio
async def test_a_cancelled_wait_for_a_turn_leaves_the_line() -> None:
    pace = Pace()
    pace._ends_s = -math.inf  # the pass is used up, and nobody lets in
    with trio.move_on_after(0.01) as scope:
        await pace.turn("anybody")
    assert scope.cancelled_caught
    assert not pace._lines
