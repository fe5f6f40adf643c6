"""The bytes of an answer that is an event stream or one body: which of the two it is, how large it may be, its end.

What the frames say is the wire's: it reads `_events` of a stream and the one `_read_body`, and `_conclude`s.
Sources: LLM_WIRE.md S7, S9, S11, S13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from luahost.wire import lenient, sniff
from luahost.wire.endings import KEPT_OF_AN_ERROR, Endings
from luahost.wire.events import Event
from luahost.wire.sse import BOM, MAX_EVENT_BYTES, EventTooLarge, SSEEvent, SSEParser


class Streamed(Endings):
    """One answer: `feed` its bytes until `ended`, `close` at their end. Never raises, ends exactly once.

    `answered`: the finish reason came; all that can still come is the usage.
    """

    def __init__(
        self,
        *,
        status: int,
        content_type: str,
        headers: Mapping[str, str],
        model: str,
        now_s: float | None = None,
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        super().__init__(status, headers, now_s, max_bytes)
        self._content_type = content_type
        self._model = model
        self._id = ""  # the server's, of the answer
        self._undecided = self._ok
        self._sse: SSEParser | None = None
        self._body = bytearray()  # not a stream, or not yet known

    @property
    def answered(self) -> bool:
        return self.ended

    @property
    def _framed(self) -> bool:
        """It comes in several frames, which are read as they come."""
        return self._sse is not None

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self.ended or not data:
            return out
        if not self._framed:
            self._body += data
            if self._undecided:
                self._decide(at_end=False)
            if not self._framed:
                self._bound_body(out)
                return out
            data, self._body = bytes(self._body), bytearray()
        self._read(data, out)
        return out

    def close(self, dropped: bool = False) -> list[Event]:
        """The bytes are over. `dropped`: the transport broke, instead of coming to its end."""
        out: list[Event] = []
        if self.ended:
            return out
        if self._undecided:
            self._decide(at_end=True)
            if self._framed:
                self._read(bytes(self._body), out)
        if not self._ok:
            self._refused(bytes(self._body), out)
        elif not self._framed:
            self._whole(dropped, out)
        elif not self.ended:
            if self._sse is not None:
                self._events(self._sse.close(), out, cut=True)
            if not self.ended and self.answered:
                self._conclude(out)
            elif not self.ended:
                self._incomplete(dropped, out)
        self._body = bytearray()
        return out

    def _decide(self, *, at_end: bool) -> None:
        stream = sniff.is_stream(bytes(self._body[: sniff.LOOK_AT]), self._content_type, at_end=at_end)
        self._undecided = stream is None
        if stream:
            self._sse = SSEParser(self._max)

    def _bound_body(self, out: list[Event]) -> None:
        if not self._ok:
            del self._body[KEPT_OF_AN_ERROR:]
        elif len(self._body) > self._max:
            self._too_large(out)

    def _read(self, data: bytes, out: list[Event]) -> None:
        """The next bytes of what comes in several frames."""
        if self._sse is not None:
            self._read_events(self._sse, data, out)

    def _whole(self, dropped: bool, out: list[Event]) -> None:
        text = bytes(self._body).removeprefix(BOM).strip()
        if lenient.is_heavy(text, lenient.ANSWER_SHARE):
            self._too_large(out)
        else:
            self._read_body(text, dropped, out)

    def _read_events(self, sse: SSEParser, data: bytes, out: list[Event]) -> None:
        try:
            events = sse.feed(data)
            if events and lenient.is_heavy(
                events[0].data, lenient.ANSWER_SHARE
            ):  # the others came whole in this one piece
                raise EventTooLarge(self._max, [])
        except EventTooLarge as error:
            self._events(error.events, out)
            if not self.ended:
                self._too_large(out)
        else:
            self._events(events, out)

    def _not_json(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        """The one body is none that the wire knows; a JSON object that does not end was cut, clean end or not."""
        if dropped or lenient.is_cut(text):
            self._incomplete(dropped, out)
        else:
            self._garbage(text, out)

    # ── the wire's own ──────────────────────────────────────────────────────────────────────────────────

    def _events(self, events: Iterable[SSEEvent], out: list[Event], *, cut: bool = False) -> None:
        """`cut`: they were flushed by the end of the stream, so half a frame is no wonder."""
        raise NotImplementedError

    def _read_body(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        """One body, without its byte order mark and the blanks around it."""
        raise NotImplementedError

    def _conclude(self, out: list[Event]) -> None:
        """The server said that it is done: how did it go?"""
        raise NotImplementedError
