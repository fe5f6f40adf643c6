"""A lane: where the host computes for a script, and the script pays.

Reading YAML or evaluating code costs time that no VM's CPU limit counts. So each VM has one such thing under way at
a time, the host a few, and what took t seconds is followed by PRICE times t in which the VM's next one waits. A
script that asks for nothing else gets a small part of one core; one that asks now and then does not notice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

PRICE = 4.0


class Lane:
    """One VM's."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._free_at_s = 0.0

    async def run(self, among: trio.CapacityLimiter, work: Callable[[], Awaitable[tuple[T, float]]]) -> T:
        """The work's result; it says how many seconds it used. `among` is the limiter of the whole host."""
        async with self._turn:
            await trio.sleep_until(self._free_at_s)
            async with among:
                began_s, spent_s = trio.current_time(), None
                try:
                    result, spent_s = await work()
                finally:  # also when it failed, or nobody waits any more: then what it took by the clock
                    ended_s = trio.current_time()
                    self._free_at_s = ended_s + PRICE * (ended_s - began_s if spent_s is None else spent_s)
        return result
