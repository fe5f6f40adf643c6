"""What every wire's decoder is, and a decoder around another that changes some of its events.

Knows no wire and no bytes.
"""

from __future__ import annotations

from typing import Protocol

from luahost.wire.events import Event


class Decoder(Protocol):
    """Fed bytes, it gives events, `End` last; it never raises.

    `started_content`: something the script can see was emitted. `answered`: only the usage can still come.
    """

    @property
    def ended(self) -> bool: ...
    @property
    def started_content(self) -> bool: ...
    @property
    def answered(self) -> bool: ...
    def feed(self, data: bytes) -> list[Event]: ...
    def close(self, dropped: bool = False) -> list[Event]: ...


class Around:
    """A decoder whose events pass through `_read`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @property
    def ended(self) -> bool:
        return self._decoder.ended

    @property
    def started_content(self) -> bool:
        return self._decoder.started_content

    @property
    def answered(self) -> bool:
        return self._decoder.answered

    def feed(self, data: bytes) -> list[Event]:
        return self._read(self._decoder.feed(data))

    def close(self, dropped: bool = False) -> list[Event]:
        return self._read(self._decoder.close(dropped))

    def _read(self, events: list[Event]) -> list[Event]:
        return events
