"""One call through Attempts, its events and its time. Where we wait the clock is false, and moved by the test."""

from __future__ import annotations

import functools
import queue
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
import trio.testing
from servers import Conn, FaultServer, openai_chunk
from transport_tools import a_client
from trio_tests import descriptors

from luahost.gate.hosts import Origin
from luahost.transport.attempts import Attempts, Report, Target
from luahost.transport.client import Answer, Client
from luahost.transport.settings import Deadlines
from luahost.wire import openai
from luahost.wire.events import End, Event, Retry, Text, Usage
from luahost.wire.messages import Request
from luahost.wire.retry import RetryPolicy

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
REAL_LIMIT_S = 20.0
STEADY = RetryPolicy(jitter=0.0)


class Told(msgspec.Struct, kw_only=True):
    """What came of a call."""

    events: list[Event] = []
    report: Report
    seconds: float = 0.0  # on the clock of the loop
    pieces: int = 0  # of bodies, that reached a decoder

    @property
    def end(self) -> End:
        assert sum(isinstance(event, End) for event in self.events) == 1, "one end"
        last = self.events[-1]
        assert isinstance(last, End), "the end is last"
        return last

    @property
    def kind(self) -> str | None:
        return self.end.failure.kind if self.end.failure is not None else None

    @property
    def phase(self) -> str | None:
        assert self.end.failure is not None
        return self.end.failure.phase

    @property
    def message(self) -> str:
        assert self.end.failure is not None
        return self.end.failure.message

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def usages(self) -> list[Usage]:
        return [event for event in self.events if isinstance(event, Usage)]

    @property
    def retries(self) -> list[tuple[int, float, str]]:
        return [(e.attempt, e.wait_s, e.failure.kind) for e in self.events if isinstance(e, Retry)]

    @property
    def outcome(self) -> tuple[str | None, int, float]:
        """Kind, attempts, seconds."""
        return self.kind, self.report.attempts, round(self.seconds, 3)


class Call:
    """`run` it; `told` grows meanwhile."""

    def __init__(
        self,
        client: Client,
        where: Origin,
        *,
        policy: RetryPolicy = STEADY,
        body: bytes = b"{}",
        on_event: Callable[[Event], Awaitable[bool]] | None = None,
        **deadlines: float,
    ) -> None:
        self._on_event = on_event
        self._attempts = Attempts(
            client,
            Request("POST", "/v1/chat/completions", {"Content-Type": "application/json"}, body),
            Target(origin=where, prefix="", headers={}, may_be_private=True),
            self._decoder,
            Deadlines(**deadlines),
            policy,
            random.Random(1),
        )
        self.told = Told(report=self._attempts.report)

    async def run(self) -> Told:
        began = trio.current_time()
        await self._attempts.run(self._take)
        self.told.seconds = trio.current_time() - began
        return self.told

    async def _take(self, event: Event) -> bool:
        self.told.events.append(event)
        return await self._on_event(event) if self._on_event is not None else True

    def _decoder(self, answer: Answer) -> Any:
        told = self.told

        class Counting(openai.Decoder):
            def feed(self, data: bytes) -> list[Event]:
                told.pieces += 1
                return super().feed(data)

        return Counting(
            status=answer.status,
            content_type=answer.headers.get("content-type", ""),
            headers=answer.headers,
            model="m",
            now_s=NOW_S,
        )


class FalseTime:
    """A clock that stands still until the test moves it, and then goes at once."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock()

    async def jump(self, seconds: float) -> None:
        """When everything waits."""
        await trio.testing.wait_all_tasks_blocked(0.001)
        self.clock.jump(seconds)

    async def real_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(5000):
            if condition():
                return
            await trio.to_thread.run_sync(time.sleep, 0.001)
        raise AssertionError("it did not come to that")

    def flow(self) -> None:
        """From now on the clock goes to the next deadline whenever nothing happens."""
        self.clock.autojump_threshold = 0.02


def in_false_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test with its FalseTime; ends it after REAL_LIMIT_S real seconds; nothing may be left."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        false_time, over = FalseTime(), threading.Event()

        async def bounded() -> None:
            async with trio.open_nursery() as nursery:

                async def limit() -> None:
                    if not await trio.to_thread.run_sync(over.wait, REAL_LIMIT_S, abandon_on_cancel=True):
                        raise AssertionError(f"still running after {REAL_LIMIT_S} real seconds")

                nursery.start_soon(limit)
                try:
                    await test(false_time, *args, **kwargs)
                finally:
                    over.set()

        before = descriptors()
        trio.run(bounded, clock=false_time.clock)
        assert descriptors() <= before, "descriptors were left open"

    del run.__dict__["__wrapped__"]  # pytest would see the first parameter as a fixture
    return run


async def call(false_time: FalseTime, where: Origin | FaultServer, **more: Any) -> Told:
    """A whole call; the clock jumps over the waits between attempts and over nothing else."""
    if isinstance(where, FaultServer):
        where = Origin("http", where.host, where.port)
    client_settings = more.pop("settings", {})
    async with a_client(**client_settings) as client, trio.open_nursery() as nursery:

        async def on_event(event: Event) -> bool:
            if isinstance(event, Retry):
                nursery.start_soon(false_time.jump, event.wait_s)
            return True

        return await Call(client, where, on_event=on_event, **more).run()


# ── what servers say ────────────────────────────────────────────────────────────────────────────────────────

ROLE = openai_chunk({"role": "assistant", "content": ""})
USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def says(text: str = "hi", usage: bool = False) -> Callable[[Conn], None]:
    """A right answer, streamed."""
    content = [openai_chunk({"content": text})] if text else []
    last = [openai_chunk({}, "stop"), *([USAGE] if usage else []), b"[DONE]"]

    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.sse([ROLE, *content, *last])

    return handler


class Stepwise:
    """A handler that sends what the test puts in, when it does; None closes."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue()

    def send(self, *pieces: bytes | None) -> None:
        for piece in pieces:
            self._pieces.put(piece)

    def __call__(self, conn: Conn) -> None:
        if conn.read_request() is None:
            return
        while True:
            try:
                piece = self._pieces.get_nowait()
            except queue.Empty:
                if not conn.wait(0.002):
                    return
                continue
            if piece is None:
                return
            conn.send(piece)


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def data(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"
