"""A worker that was taken over: it says what it likes on its socket, and only its own VM is lost.

The host believes it talks to a forked worker; a task of the test holds the other end and writes the frames. The
process behind the worker's pid is a `sleep`, so that what the host kills is real.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
import trio
from arena import Arena

from luahost import Limits
from luahost.errors import HostFault, LuahostError
from luahost.values import Source
from luahost.vm import frames, protocol

pack = msgspec.msgpack.encode
STATS = [4, 0, 0, 0, 0]
LIMITS = Limits(cpu_s=1.0, memory_bytes=16 << 20)
LOADED = {"type": "table", "has": {"on_request": True}}


class Liar:
    """Stands where the zygote stands: each fork is a socket whose other end tells lies."""

    alive = True
    pid = 0

    def __init__(self, nursery: trio.Nursery, tell: Callable[[Talk], AsyncGenerator[bytes, None]]) -> None:
        self._nursery, self._tell = nursery, tell
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    async def fork(self, address_space_bytes: int) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - forks at once
        self._processes[process.pid] = process
        self._nursery.start_soon(self._lie, trio.socket.from_stdlib_socket(theirs), process)
        return process.pid, ours

    async def bury(self, pid: int) -> int:
        process = self._processes[pid]
        process.kill()
        process.wait()
        return 9

    async def _lie(self, sock: Any, process: subprocess.Popen[bytes]) -> None:
        talk = Talk(sock)
        try:
            async with aclosing(self._tell(talk)) as lies:
                async for data in lies:
                    at = 0
                    while at < len(data):
                        at += await sock.send(data[at : at + 65536])
            while process.poll() is None:  # noqa: ASYNC110 - no event tells of a process's end
                await trio.sleep(0.005)
        except OSError:
            pass
        finally:
            sock.close()


class Talk:
    """What the liar hears, and how it would answer."""

    def __init__(self, sock: Any) -> None:
        self._sock, self._reader = sock, frames.FrameReader(1 << 30)
        self._heard: list[tuple[int, int, bytes]] = []
        self.max_frame = LIMITS.value_bytes + frames.FRAME_SPARE
        self.vm = 0
        self.task = 0

    async def step(self) -> bytes:
        """The next STEP's message; b"" when the host has closed."""
        while True:
            while self._heard:
                kind, self.vm, payload = self._heard.pop(0)
                if kind == frames.STEP:
                    if payload[0] == protocol.START:
                        self.task = struct.unpack_from("<q", payload, 9)[0]
                    return payload
            data = await self._sock.recv(65536)
            if not data:
                return b""
            self._heard += self._reader.feed(data)

    def wants(self, *wants: Any) -> bytes:
        return frames.frame(frames.STEPPED, self.vm, pack([*wants, STATS]))

    def done(self, value: Any) -> bytes:
        return self.wants([2, self.task, value])

    def raw_done(self, value: bytes) -> bytes:
        head = b"\x92\x93\x02" + pack(self.task)
        return frames.frame(frames.STEPPED, self.vm, head + value + pack(STATS))


async def meet(arena: Arena, tell: Callable[[Talk], AsyncGenerator[bytes, None]], limits: Limits = LIMITS) -> Any:
    """Loads and runs a script in a worker that lies; the result, or the error raised."""
    host, result = arena.host, None
    async with trio.open_nursery() as nursery:
        zygote, host._pool._zygote = host._pool._zygote, Liar(nursery, tell)  # type: ignore[assignment]
        try:
            with trio.fail_after(10):
                vm = None
                try:
                    vm = await host.load(Source("return {}"), grants=[arena.grant()], limits=limits)
                    result = await vm.request("x", {})
                except LuahostError as error:
                    result = error
                if vm is not None:
                    await vm.close()
        finally:
            host._pool._zygote = zygote
            nursery.cancel_scope.cancel()
    return result


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(tmp_path_factory.mktemp("arena")) as arena:
        yield arena


def told(answer: Callable[[Talk], bytes]) -> Callable[[Talk], AsyncGenerator[bytes, None]]:
    """Loads well, and answers the first request with this."""

    async def tell(talk: Talk) -> AsyncGenerator[bytes, None]:
        await talk.step()
        yield talk.done(LOADED)
        await talk.step()
        yield answer(talk)

    return tell


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


LIES: dict[str, Callable[[Talk], bytes]] = {
    "a frame of a VM it does not hold": lambda t: frames.frame(frames.STEPPED, t.vm + 7, pack([STATS])),
    "output of a VM it does not hold": lambda t: frames.frame(frames.OUTPUT, 0xFFFFFFFF, b"print\0x"),
    "an answer nobody asked for": lambda t: t.wants() + t.wants() + t.wants(),
    "a frame that is too long": lambda t: struct.pack("<IBI", t.max_frame + 6, frames.STEPPED, t.vm) + b"x" * 1000,
    "the longest frame there is": lambda t: struct.pack("<IBI", 0xFFFFFFFF, frames.STEPPED, t.vm),
    "a frame that is too short": lambda t: struct.pack("<IBI", 0, frames.STEPPED, t.vm),
    "a frame of unknown kind": lambda t: frames.frame(99, t.vm, b""),
    "a frame only the host may send": lambda t: frames.frame(frames.OPEN, t.vm, b"x" * 48),
    "an empty answer": lambda t: frames.frame(frames.STEPPED, t.vm, b""),
    "wants that are no list": lambda t: frames.frame(frames.STEPPED, t.vm, pack({"a": 1})),
    "a want of unknown tag": lambda t: t.wants([9, 1]),
    "a want of the wrong types": lambda t: t.wants([0, "task", "id", 5, None]),
    "a task's number that is too large": lambda t: t.wants([0, 2**64 - 1, 1, b"caps", None]),
    "a call's number that is too large": lambda t: t.wants([0, t.task, 2**64 - 1, b"caps", None]),
    "statistics that are too large": lambda t: frames.frame(frames.STEPPED, t.vm, pack([[4, 2**64 - 1, 0, 0, 0]])),
    "bytes behind the wants": lambda t: frames.frame(frames.STEPPED, t.vm, pack([STATS]) + b"\xc0"),
    "wants nested without end": lambda t: frames.frame(frames.STEPPED, t.vm, nested(100_000)),
    "a result nested without end": lambda t: t.raw_done(nested(5000)),
    "a result with invalid text": lambda t: t.raw_done(b"\xa2\xff\xfe"),
    "a result with a table as key": lambda t: t.raw_done(b"\x81\x80\xc0"),
    "a result cut short": lambda t: t.raw_done(b"\xdd\xff\xff\xff\xff"),
    "a call numbered twice": lambda t: t.wants([0, t.task, 1, b"clock.sleep", 5.0], [0, t.task, 1, b"caps", None]),
    "a hundred thousand quick calls": lambda t: t.wants(*([0, t.task, i, b"caps", None] for i in range(100_000))),
    "a hundred thousand calls": lambda t: t.wants(*([0, t.task, i, b"clock.sleep", 5.0] for i in range(100_000))),
    "a call numbered like one that is just being ended": lambda t: t.wants(
        [0, t.task, 1, b"clock.sleep", 5.0], [5, 1], [0, t.task, 1, b"clock.sleep", 5.0]
    ),
    "a thousand and one calls": lambda t: t.wants(*([0, t.task, i, b"clock.sleep", 5.0] for i in range(1001))),
    "calls made and dropped without end": lambda t: b"".join(
        t.wants(*(want for i in range(n, n + 1000) for want in ([0, t.task, i, b"clock.sleep", 5.0], [5, i])))
        for n in range(0, 10_000, 1000)
    ),
    "sixty thousand acknowledgements": lambda t: t.wants(*([1, i, True] for i in range(60_000))),
    "sixty thousand drops": lambda t: t.wants(*([5, i] for i in range(60_000))),
    "a drop of a number that is too large": lambda t: t.wants([5, 2**64 - 1]),
    "a drop of nothing": lambda t: t.wants([5]),
    "more output than its VM may write": lambda t: frames.frame(frames.OUTPUT, t.vm, b"print\0" + b"x" * 300_000),
    "a result of two million tables": lambda t: t.raw_done(
        b"\xdd" + struct.pack(">I", 2_000_000) + b"\x80" * 2_000_000
    ),
    "two million acknowledgements": lambda t: frames.frame(
        frames.STEPPED, t.vm, b"\xdd" + struct.pack(">I", 2_000_000) + b"\x93\x01\x00\xc3" * 2_000_000
    ),
    "a result of eight million tables": lambda t: t.raw_done(
        b"\xdd" + struct.pack(">I", 8_000_000) + b"\x80" * 8_000_000
    ),
    "a result with a time in it": lambda t: t.raw_done(b"\x91\xd6\xff\0\0\0\0"),
    "a result with an extension in it": lambda t: t.raw_done(b"\xd4\x05\x00"),
    "a result with a number as key": lambda t: t.raw_done(b"\x81\x01\x02"),
    "a result that is not a number": lambda t: t.raw_done(b"\xcb\x7f\xf8\0\0\0\0\0\0"),
    "a result that is nested too deep": lambda t: t.raw_done(nested(70)),
    "a result with a number too large for Lua": lambda t: t.raw_done(pack(2**63)),
    "random bytes": lambda t: random.Random(1).randbytes(100_000),
    "random frames": lambda t: b"".join(
        frames.frame(random.Random(i).choice([4, 5, 4]), t.vm, random.Random(i).randbytes(50)) for i in range(1000)
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_lies_is_ended_and_the_lie_is_named(arena: Arena, lie: str) -> None:
    error = arena.call(meet, arena, told(LIES[lie]))
    assert isinstance(error, HostFault), error
    assert error.kind == "worker_lied"
    assert len(error.message) < 400 and error.message.isprintable()
    assert arena.call(arena.two) == 2


def call(op: bytes, args: bytes, then: Any = "done") -> Callable[[Talk], AsyncGenerator[bytes, None]]:
    """One call with these argument bytes; whatever is answered, the task ends."""

    async def tell(talk: Talk) -> AsyncGenerator[bytes, None]:
        await talk.step()
        yield talk.done(LOADED)
        await talk.step()
        want = b"\x95\x00" + pack(talk.task) + b"\x01" + pack(op) + args
        yield frames.frame(frames.STEPPED, talk.vm, b"\x92" + want + pack(STATS))
        while answer := await talk.step():
            if answer[0] == protocol.REPLY:
                yield talk.done({"success": True, "data": "answered"})
                return
            yield talk.wants([1, 1, True])  # a batch of a stream

    return tell


ARGUMENTS = {
    "nil": b"\xc0",
    "wrong type": b"\xa1x",
    "empty map": b"\x80",
    "invalid text": b"\x81\xa4name\xa2\xff\xfe",
    "invalid key": b"\x81\xa4\xff\xfe\xff\xfe\xc0",
    "list as key": b"\x81\x90\xc0",
    "deep": nested(3000),
    "extension": b"\xd4\x05\x00",
    "bad timestamp": b"\xd7\xff" + b"\xff" * 8,
    "nan": b"\xcb\x7f\xf8\0\0\0\0\0\0",
    "infinite": b"\xcb\x7f\xf0\0\0\0\0\0\0",
    "negative": pack(-1.0),
    "huge": pack(2**63),
    "everything": pack(
        {
            "kind": "llm",
            "name": "good",
            "json": "{}",
            "prompt": "x",
            "opts": {},
            "detail": {},
            "streamed": True,
            "extra": [1],
        }
    ),
    "invalid detail": b"\x82\xa4kind\xa3llm\xa6detail\x81\xa8provider\xa1\xff",
    "odd detail": pack({"kind": "llm", "detail": {"provider": [1], "model": {}}}),
}


@pytest.mark.parametrize("args", ARGUMENTS)
@pytest.mark.parametrize(
    "op",
    [
        "llm",
        "llm_ping",
        "caps",
        "can",
        "module",
        "clock.now",
        "clock.sleep",
        "sessions.dump",
        "sessions.load",
        "no.such",
        "\udcff",
    ],
)
def test_arguments_the_vm_would_never_send_hurt_nobody(arena: Arena, op: str, args: str) -> None:
    if op == "clock.sleep" and args in ("infinite", "huge"):
        return  # it may sleep as long as it lives
    told = arena.call(meet, arena, call(op.encode("utf-8", "surrogateescape"), ARGUMENTS[args]))
    assert told == "answered" or (isinstance(told, HostFault) and told.kind == "worker_lied"), told
    assert arena.call(arena.two) == 2


HARMLESS: dict[str, Callable[[Talk], bytes]] = {
    "results of tasks that are none": lambda t: t.wants(
        [2, 999, 1], [2, -5, None], [3, 77, b"x", b"y", b"", b"", b""], [2, t.task, {"data": 5}]
    ),
    "acknowledgements of calls that are none": lambda t: t.wants(
        [1, 5, True], [1, -1, False], [2, t.task, {"data": 5}]
    ),
    "drops of calls that are none": lambda t: t.wants([5, 5], [5, -1], [5, 5], [2, t.task, {"data": 5}]),
    "a call that is dropped at once": lambda t: t.wants(
        [0, t.task, 1, b"clock.sleep", 5.0], [5, 1], [5, 1], [1, 1, True], [2, t.task, {"data": 5}]
    ),
    "the same result twice": lambda t: t.wants([2, t.task, {"data": 5}], [2, t.task, {"data": 6}]),
    "statistics that are impossible": lambda t: frames.frame(
        frames.STEPPED, t.vm, pack([[2, t.task, {"data": 5}], [4, -(2**63), 2**63 - 1, -1, 2**63 - 1]])
    ),
    "output of an unknown kind": lambda t: (
        frames.frame(frames.OUTPUT, t.vm, b"\xff\xfe\x1b[2J\0\x1b]0;x\x07\r\n\xff") + t.done({"data": 5})
    ),
    "output without a kind": lambda t: frames.frame(frames.OUTPUT, t.vm, b"") + t.done({"data": 5}),
}


@pytest.mark.parametrize("word", HARMLESS)
def test_odd_words_are_ignored(arena: Arena, word: str) -> None:
    assert arena.call(meet, arena, told(HARMLESS[word])) == 5
    assert not [said for said in arena.said if "\x1b" in said]


async def _vanish(talk: Talk) -> AsyncGenerator[bytes, None]:
    await talk.step()
    yield talk.done(LOADED)
    await talk.step()
    yield frames.frame(frames.STEPPED, talk.vm, b"x" * 100)[:50]
    talk._sock.shutdown(socket.SHUT_RDWR)


async def _mute(talk: Talk) -> AsyncGenerator[bytes, None]:
    talk._sock.shutdown(socket.SHUT_RDWR)
    yield b""


@pytest.mark.parametrize("tell", [_vanish, _mute], ids=["in the middle of a frame", "at once"])
def test_a_worker_that_vanishes_is_lost(arena: Arena, tell: Callable[[Talk], AsyncGenerator[bytes, None]]) -> None:
    error = arena.call(meet, arena, tell)
    assert isinstance(error, HostFault) and error.kind == "worker_lost"
    assert arena.call(arena.two) == 2


def test_the_calls_under_way_hold_no_more_of_the_host_than_a_vm_may_have(arena: Arena) -> None:
    kinds: list[str] = []

    async def hold(talk: Talk) -> AsyncGenerator[bytes, None]:
        await talk.step()
        yield talk.done(LOADED)
        await talk.step()
        prompt = {"prompt": "x" * 1_000_000, "opts": {}}
        yield talk.wants(*([0, talk.task, n, b"llm", prompt] for n in range(8)))
        while len(kinds) < 8:
            answer = await talk.step()
            if answer[0] == protocol.REPLY:
                kinds.append(protocol.decode(answer[17:]).get("error_kind", "ok"))
            if len(kinds) < 8:
                yield talk.wants()
        yield talk.done({"data": 5})

    small = Limits(cpu_s=1.0, memory_bytes=4 << 20)
    assert arena.call(meet, arena, hold, small) == 5
    assert Counter(kinds) == {"ok": 4, "too_large": 4}


def test_a_forged_failure_cannot_pass_for_a_refusal_or_show_control_characters(arena: Arena) -> None:
    forged = [
        3,
        0,
        b"script_error",
        b"llm denied: \x1b[2J\xff" + b"x" * 100_000,
        b"a:1",
        b"\x1b",
        b"permission_denied",
    ]
    error = arena.call(meet, arena, told(lambda t: t.wants(forged)))
    assert type(error).__name__ == "ScriptError"
    assert "\x1b" not in error.message + error.traceback + error.where


def test_a_flood_of_tiny_output_frames_does_not_make_the_event_loop_late(arena: Arena) -> None:
    async def flood(talk: Talk) -> AsyncGenerator[bytes, None]:
        await talk.step()
        yield talk.done(LOADED)
        await talk.step()
        yield frames.frame(frames.OUTPUT, talk.vm, b"print\0x") * 60_000
        yield talk.done({"data": 5})

    async def measure() -> float:
        worst, over = 0.0, trio.Event()

        async def tick() -> None:
            nonlocal worst
            while not over.is_set():
                due = trio.current_time() + 0.005
                await trio.sleep_until(due)
                worst = max(worst, trio.current_time() - due)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            assert await meet(arena, flood) == 5
            over.set()
        return worst

    worst = min(arena.call(measure) for _ in range(3))
    assert worst < 0.1, (
        f"{worst * 1000:.0f} ms"
    )  # 25 ms on a machine of its own; seconds when frames come in one go


def test_no_lie_takes_the_host_long_or_makes_it_large(arena: Arena) -> None:
    """The dearest of them, each in a frame as large as may be; what is refused is refused before it is built."""
    for lie in ("two million acknowledgements", "a result of eight million tables", "wants nested without end"):

        async def measure(lie: str = lie) -> float:
            worst = 0.0

            async def tick() -> None:
                nonlocal worst
                while True:
                    due = trio.current_time() + 0.005
                    await trio.sleep_until(due)
                    worst = max(worst, trio.current_time() - due)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                await meet(arena, told(LIES[lie]))
                nursery.cancel_scope.cancel()
            return worst

        tracemalloc.start()
        try:
            talk = Talk(None)
            built = LIES[lie](talk)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(frames.FrameError):
                for _, _, payload in frames.FrameReader(1 << 30).feed(built):
                    for want in protocol.decode_wants(payload):
                        if isinstance(want, protocol.Done):
                            protocol.decode(want.value)
            assert tracemalloc.get_traced_memory()[1] - before < 48 << 20, lie
        finally:
            tracemalloc.stop()
        worst = min(arena.call(measure) for _ in range(2))
        assert worst < 0.25, f"{lie}: {worst * 1000:.0f} ms"  # the liar writes its lie in this loop too


def test_a_worker_that_always_has_more_to_say_is_only_asked_as_often_as_it_answers(arena: Arena) -> None:
    async def more(talk: Talk) -> AsyncGenerator[bytes, None]:
        await talk.step()
        yield talk.done(LOADED)
        for n in range(2000):
            message = await talk.step()
            assert message[0] == (protocol.GO_ON if n else protocol.START)
            yield talk.wants([6])
        await talk.step()
        yield talk.done({"data": 5})

    assert arena.call(meet, arena, more) == 5


def test_no_process_is_left_of_all_that(arena: Arena) -> None:
    children = subprocess.run(
        ["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    assert "sleep" not in children.stdout
