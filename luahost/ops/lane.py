"""A lane: where the host computes for a script, and the script pays.

Reading YAML or evaluating code costs time that no VM's CPU limit counts. So each VM has one such thing under way at
a time, and what took t seconds is followed by PRICE times t in which the VM's next one waits. A
script that asks for nothing else gets a small part of one core; one that asks now and then does not notice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

PRICE = 4.0
MOST_S = 1.0
"""What one piece of work takes at most, about."""


class Lane:
    """One VM's."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._free_at_s = 0.0

    async def run(self, work: Callable[[], Awaitable[tuple[T, float]]]) -> T:
        """The work's result; it says how many seconds it used."""
        async with self._turn:
            await trio.sleep_until(self._free_at_s)
            began_s, spent_s = trio.current_time(), None
            try:
                result, spent_s = await work()
            finally:  # also when it failed, or nobody waits any more: then by the clock
                ended_s = trio.current_time()
                self._free_at_s = ended_s + PRICE * (min(ended_s - began_s, MOST_S) if spent_s is None else spent_s)
        return result
