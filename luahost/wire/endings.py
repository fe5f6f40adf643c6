"""How an answer ends: with exactly one `End`, however it went. The part of a decoder that no wire has its own of.

Knows no bytes and no frames. Sources: LLM_WIRE.md §2.5, S11, S13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luahost.wire import failures
from luahost.wire.events import End, Event, Failure, StopReason

KEPT_OF_AN_ERROR = 256 * 1024
"""Bytes of a refusal's body that are looked at."""


class Endings:
    """One answer's end. `ended` is set by the `End`; after it a decoder gives nothing more.

    `started_content`: something the script can see was emitted, so a retry would repeat it.
    """

    def __init__(self, status: int, headers: Mapping[str, str], now_s: float | None, max_bytes: int) -> None:
        self.ended = False
        self.started_content = False
        self._status = status
        self._headers = headers
        self._now_s = now_s  # only to understand a Retry-After that is a date
        self._max = max_bytes
        self._ok = 200 <= status < 300
        self._started = False  # `Start` was given out
        self._reason: str | None = None  # the wire's own word

    def _refused(self, body: bytes, out: list[Event]) -> None:
        self._failed(failures.classify(self._status, self._headers, body, now_s=self._now_s), out)

    def _in_band(self, error: Any, out: list[Event]) -> None:
        status, now_s = self._status, self._now_s
        self._failed(failures.classify_in_band(error, self._headers, status=status, now_s=now_s), out)

    def _garbage(self, data: bytes, out: list[Event]) -> None:
        seen = failures.excerpt(data, 200)
        self._fail("parse_error", f"the answer is not JSON: {seen}" if seen else "the answer is empty", out)

    def _too_large(self, out: list[Event]) -> None:
        self._fail(
            "too_large",
            f"the answer, or one piece of it, is larger than {self._max} bytes, or of too many items",
            out,
        )

    def _incomplete(self, dropped: bool, out: list[Event]) -> None:
        how = "the connection broke" if dropped else "the server closed the stream"
        when = "before the answer was complete" if self._started else "before the answer began"
        self._fail("stream_incomplete", f"{how} {when}", out)

    def _fail(self, kind: str, message: str, out: list[Event], stop: StopReason | None = None) -> None:
        failure = Failure(kind=kind, message=message, retryable=kind in failures.RETRYABLE, status=self._status)
        self._failed(failure, out, stop)

    def _failed(self, failure: Failure, out: list[Event], stop: StopReason | None = None) -> None:
        self._end(stop or failures.stop_reason(failure.kind), failure, out)

    def _end(self, stop_reason: StopReason, failure: Failure | None, out: list[Event]) -> None:
        out.append(End(stop_reason, self._reason, failure))
        self.ended = True
