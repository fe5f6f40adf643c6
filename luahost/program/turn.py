"""Whose turn it is in a VM: runs and requests come one after another, and none begins while it is paused.

Signals do not wait. Knows no script and no call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from luahost.errors import Exhausted

MAX_PAUSED = 128
"""Runs and requests that may wait for a paused VM."""


class Turn:
    """One VM's; `name` is for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = trio.Lock()
        self._resumed: trio.Event | None = None  # while it is paused
        self._there = 0  # those that wait, and the one whose turn it is

    @property
    def paused(self) -> bool:
        return self._resumed is not None

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = trio.Event()

    def resume(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def taken(self) -> AbstractAsyncContextManager[None]:
        """Waits for the turn, and has it. Exhausted at once when too many wait for a paused VM."""
        if self.paused and self._there >= MAX_PAUSED:
            raise Exhausted(
                f"{self._name} is paused, and {MAX_PAUSED} wait already", limit="queue", kind="queue_full"
            )
        return self._taken()

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        self._there += 1
        try:
            async with self._lock:
                while self._resumed is not None:
                    await self._resumed.wait()
                yield
        finally:
            self._there -= 1
