"""What an attack did to the others: to the event loop, to a sibling, to the host's memory and descriptors.

`Vitals.around()` stands around one fight.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from trio_tests import Passes, resident_bytes

LATE_S = 0.025
"""The event loop may be so late, and no more."""
ASK_EVERY_S = 0.03
SETTLE_S = 1.0
"""What an attack leaves must be gone by then."""
MEMORY = "MB in the host"
KEPT_BYTES = 16 << 20
"""Memory that a fight may leave in the host, once its allocator gave back what it kept for later."""


@dataclass
class Seen:
    """What was seen during one fight."""

    late_s: float = 0.0
    stolen_s: float = 0.0  # of the machine, meanwhile
    answers: int = 0  # of the sibling, while the attack ran and right after it
    left: list[str] = field(default_factory=list)  # what was there afterwards and not before

    @property
    def troubles(self) -> list[str]:
        """Every promise to the others that was not kept."""
        found = [f"left behind: {what}" for what in self.left]
        if self.late_s > LATE_S:
            found.append(f"the event loop was {self.late_s * 1000:.0f} ms late")
        if not self.answers:
            found.append("the sibling did not answer")
        return found


def _give_back() -> None:
    """What glibc keeps of freed memory."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def wait_for_a_quiet_machine(at_most_s: float = 15.0) -> None:
    """Until others leave most of it alone, where the kernel says what they take."""
    until = time.monotonic() + at_most_s
    with suppress(OSError):
        before = _idle_s()
        while time.monotonic() < until:
            began = time.monotonic()
            time.sleep(0.3)
            idle_s, before = _idle_s() - before, _idle_s()
            if idle_s > 0.8 * (time.monotonic() - began) * (os.cpu_count() or 1):
                return


def stolen_s() -> float:
    """What the machine's own host did not give its cores that had something to do, since it began; all cores together."""
    with suppress(OSError):
        return _of_all_cores(8)
    return 0.0


def _idle_s() -> float:
    return _of_all_cores(4)


def _of_all_cores(column: int) -> float:
    return int(Path("/proc/stat").read_text().split()[column]) / os.sysconf("SC_CLK_TCK")


class Vitals:
    """`ask(n)` asks the sibling, which answers n + 1; `counts()` names what can be left behind, and how much there is."""

    def __init__(self, ask: Callable[[int], Awaitable[Any]], counts: Callable[[], dict[str, int]]) -> None:
        self._ask, self._counts = ask, counts

    @asynccontextmanager
    async def around(self) -> AsyncIterator[Seen]:
        seen = Seen()
        _give_back()
        before, memory = self._counts(), resident_bytes()
        stolen_before_s = stolen_s()
        with Passes() as passes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_asking, seen)
                try:
                    yield seen
                finally:
                    nursery.cancel_scope.cancel()
        seen.late_s, seen.stolen_s = passes.longest_s, stolen_s() - stolen_before_s
        with trio.move_on_after(2):
            assert await self._ask(41) == 42
            seen.answers += 1
        seen.left = await self._left(before, memory)

    async def _keep_asking(self, seen: Seen) -> None:
        while True:
            await trio.sleep(ASK_EVERY_S)
            assert await self._ask(seen.answers) == seen.answers + 1
            seen.answers += 1

    async def _left(self, before: dict[str, int], memory: int) -> list[str]:
        """Once all is quiet again; what ends a moment later is not left."""
        until = trio.current_time() + SETTLE_S
        while True:
            counts = self._counts()
            left = [f"{counts[name] - count} {name}" for name, count in before.items() if counts[name] > count]
            more = resident_bytes() - memory
            if more > KEPT_BYTES:
                gc.collect()
                _give_back()
                more = resident_bytes() - memory
                if more > KEPT_BYTES:
                    left.append(f"{more >> 20} {MEMORY}")
            if not left or trio.current_time() > until:
                return left
            await trio.sleep(0.01)
