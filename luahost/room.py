"""Room: how many bytes the calls of one VM may hold in the host together while they are under way.

What a call brings (a file, an answer) waits in the host until it can be given to the script. One such thing is
bounded by what it is; a thousand calls at a time would be a thousand times as much. Who takes a part holds it until
it gives it back, and is refused where there is no room: nobody waits, so nobody waits for each other.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Room:
    """So many bytes in all."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.taken_bytes = most_bytes, 0

    def part(self) -> Part:
        """One call's; `with` gives back what it took."""
        return Part(self)


class Part:
    """What one call holds."""

    def __init__(self, room: Room) -> None:
        self._room, self._taken_bytes = room, 0

    def take(self, size: int) -> bool:
        """So many bytes more, if there is room."""
        if self._room.taken_bytes + size > self._room.most_bytes:
            return False
        self._room.taken_bytes += size
        self._taken_bytes += size
        return True

    @property
    def refusal(self) -> str:
        """Why it got no more, in words."""
        return f"the calls under way would hold more than {self._room.most_bytes} bytes; make fewer at a time"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.taken_bytes -= self._taken_bytes
        self._taken_bytes = 0
