"""A board: the last events of a VM and of all below it, so many and so many bytes. Knows no VM."""

from __future__ import annotations

from collections import deque
from typing import Any

MAX_EVENTS = 1000
MAX_BYTES = 256 * 1024


class Board:
    """`above` is its parent's, which hears all that is put here."""

    def __init__(self, above: Board | None = None) -> None:
        self._above = above
        self._events: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0

    def put(self, event: dict[str, Any], size: int) -> None:
        """Also on the boards above. The oldest make room."""
        board: Board | None = self
        while board is not None:
            board._events.append((event, size))
            board._bytes += size
            while len(board._events) > MAX_EVENTS or board._bytes > MAX_BYTES:
                board._bytes -= board._events.popleft()[1]
            board = board._above

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest so many, the oldest of them first."""
        first = max(0, len(self._events) - count)
        return [event for event, _ in list(self._events)[first:]]
