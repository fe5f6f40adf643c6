"""Server-sent events, from bytes as they come to whole events: WHATWG's parser, on bytes, at any cut.

The idea: once CR and CRLF are turned into LF (a CR at the very end of a piece ends its line at once, and
an LF that opens the next piece is then dropped), a piece is cut at its last LF. What is before are whole
lines; what is after waits, unlooked at, until its own LF comes. So every byte is copied a fixed number of
times however the stream is cut, and a piece that holds whole `data: …` events is read by one `split`.

Deliberate differences from the standard, the last three for what real servers do:
- `id` and `retry` are passed over like comments: an answer that broke off is not resumed.
- `close()` gives the event that lacks its blank line; the standard drops it, servers omit the last newline.
- an event whose data is empty is not given: no LLM server means anything by it.
- the field `error: {…}` of older llama.cpp gives an event named "error" instead of being ignored.

Knows no JSON, no LLM, no `[DONE]`, no character set (data stays bytes; a split UTF-8 character is whole
again once its line is). Sources: https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.6),
ggml-org/llama.cpp#16109 (the error field), florimondmanca/httpx-sse#34 (lines cut at U+2028).
"""

from __future__ import annotations

import msgspec

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 16 * 1024 * 1024


class SSEEvent(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event; `event` is "message" unless the stream named it."""

    event: str
    data: bytes


class EventTooLarge(Exception):
    """An event passed the cap; `events` are the whole ones that stood before it in the same piece."""

    def __init__(self, max_bytes: int, events: list[SSEEvent]) -> None:
        super().__init__(f"one event is larger than {max_bytes} bytes")
        self.max_bytes = max_bytes
        self.events = events


class SSEParser:
    """`feed` pieces as they come, `close` at the end. After EventTooLarge it must not be fed again."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._bom: bytes | None = b""  # the start while it may still be a BOM; None once that is settled
        self._skip_lf = False  # the last byte was a CR: an LF now belongs to it
        self._tail: list[bytes] = []  # pieces of the line that has not ended
        self._tail_bytes = 0
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> list[SSEEvent]:
        if self._bom is not None:
            data = self._bom + data
            if len(data) < len(BOM) and BOM.startswith(data):
                self._bom = data
                return []
            self._bom = None
            data = data.removeprefix(BOM)
        if not data:
            return []
        if self._skip_lf:
            self._skip_lf = False
            if data[0] == 0x0A:
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._hold(data, [])
            return []
        if self._tail:
            self._tail.append(data[:cut])
            lines = b"".join(self._tail)
            self._tail.clear()
            self._tail_bytes = 0
        else:
            lines = data if cut == len(data) else data[:cut]
        events = self._read(lines)
        if cut < len(data):
            self._hold(data[cut:], events)
        return events

    def close(self) -> list[SSEEvent]:
        """The end of the bytes: what is pending counts as if its line end and blank line had come."""
        line = b"".join(self._tail)
        self._bom = None  # half a BOM is nothing
        self._tail.clear()
        events: list[SSEEvent] = []
        self._line(line, events)
        self._dispatch(events)
        return events

    def _hold(self, piece: bytes, events: list[SSEEvent]) -> None:
        self._tail.append(piece)
        self._tail_bytes += len(piece)
        if self._data_bytes + self._tail_bytes > self._max:
            raise EventTooLarge(self._max, events)

    def _read(self, lines: bytes) -> list[SSEEvent]:
        """Whole lines, the last one ended by its LF."""
        events: list[SSEEvent] = []
        # One line `data: …` and its blank line is nearly all there is. Not taken when an event is already
        # begun, nor when one might pass the cap: the careful way does both.
        begun = self._data or self._name
        if begun or len(lines) > self._max or not (lines.startswith(b"data: ") and lines.endswith(b"\n\n")):
            self._read_lines(lines, events)
            return events
        for block in lines[6:-2].split(b"\n\ndata: "):
            if b"\n" in block:  # not as simple as it looked
                self._read_lines(b"data: " + block + b"\n\n", events)
            elif block:
                events.append(SSEEvent("message", block))
        return events

    def _read_lines(self, lines: bytes, events: list[SSEEvent]) -> None:
        for line in lines[:-1].split(b"\n"):
            self._line(line, events)

    def _line(self, line: bytes, events: list[SSEEvent]) -> None:
        if self._data_bytes + len(line) > self._max:
            raise EventTooLarge(self._max, events)
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        match field:
            case b"data":
                self._keep(value)
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"error":
                self._name = "error"
                self._keep(value)

    def _keep(self, value: bytes) -> None:
        self._data.append(value)
        # +1: the line feed it is joined with, so that a flood of empty lines meets the cap too.
        self._data_bytes += len(value) + 1

    def _dispatch(self, events: list[SSEEvent]) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        if data:
            events.append(SSEEvent(self._name or "message", data))
        self._name = ""
        self._data = []
        self._data_bytes = 0
