"""What the tests of all wires say alike: a decoder read to its end, recordings, and what a list of events holds.

It knows no wire: each test file makes a Reader of its wire's decoder and picks its recordings by their URLs.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from luahost.wire.events import SHOWN, End, Event, Failure, Text, Thinking, ToolCall

RECORDINGS = Path(__file__).parent.parent / "recordings"
SSE = "text/event-stream"

# The stop reasons that never come without a failure, and no other ever has one.
FAILED = {"refusal", "content_filter", "context_limit", "malformed_tool_call", "error", "stream_incomplete"}


class Reader:
    """Decodes pieces with one wire's decoder. Whatever they are: one End, the last event, and nothing behind it."""

    def __init__(self, decoder: Callable[..., Any], content_type: str, *, more: bytes) -> None:
        """`more`: what a server could still send when all is said."""
        self._decoder, self._content_type, self._more = decoder, content_type, more

    def __call__(
        self,
        *pieces: bytes,
        status: int = 200,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        dropped: bool = False,
        **options: Any,
    ) -> list[Event]:
        content_type = self._content_type if content_type is None else content_type
        decoder = self._decoder(
            status=status, content_type=content_type, headers=headers or {}, model="asked", **options
        )
        events = [event for piece in pieces for event in decoder.feed(piece)]
        events += decoder.close(dropped)
        assert decoder.ended
        assert decoder.feed(self._more) == decoder.close() == []
        assert [type(e) for e in events].count(End) == 1
        assert isinstance(events[-1], End)
        assert decoder.started_content == any(isinstance(e, SHOWN) for e in events)
        return events


# ---- recordings


class Recording(NamedTuple):
    """One answer of a server, as it came."""

    name: str
    status: int
    headers: dict[str, str]
    body: bytes
    reader: Reader

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def decode(self, *pieces: bytes, **options: Any) -> list[Event]:
        return self.reader(
            *pieces, status=self.status, content_type=self.content_type, headers=self.headers, **options
        )


def recordings(
    reader: Reader, url: str, directories: tuple[str, ...], endings: tuple[str, ...] = ("json", "sse")
) -> list[Recording]:
    """All answers to URLs that this pattern is found in; a name is directory/case."""
    found = []
    for directory in directories:
        for row in map(json.loads, (RECORDINGS / directory / "index.jsonl").read_text().splitlines()):
            if row["status"] is None or not re.search(url, row["url"]):
                continue
            name, said = f"{directory}/{row['case']}", (row["status"], row["response_headers"])
            files = [RECORDINGS / f"{name}.{ending}" for ending in endings]
            found += [Recording(name, *said, file.read_bytes(), reader) for file in files if file.exists()]
    return found


def of_each(some: list[Recording]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recording", some, ids=[each.name for each in some])


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def assert_the_same_bytewise_and_at_random_cuts(recording: Recording) -> None:
    body = recording.body
    whole = recording.decode(body)
    assert recording.decode(*bytewise(body)) == whole
    rnd = random.Random(recording.name)
    for _ in range(10):
        cuts = sorted(rnd.randrange(len(body) + 1) for _ in range(rnd.randrange(1, 8)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert recording.decode(*pieces) == whole


def decoded_in_any_pieces(decode: Reader, pieces: list[bytes], **options: Any) -> list[Event]:
    """The events: the same from the pieces, from all in one and byte by byte; a failure where one must be."""
    whole = b"".join(pieces)
    events = decode(*pieces, **options)
    assert events == decode(whole, **options)
    assert events == decode(*bytewise(whole), **options)
    last = end(events)
    assert (last.failure is not None) == (last.stop_reason in FAILED)
    for event in events:
        msgspec.json.encode(event)
    return events


# ---- what a list of events holds


def end(events: list[Event]) -> End:
    assert isinstance(events[-1], End)
    return events[-1]


def failure(events: list[Event]) -> Failure:
    found = end(events).failure
    assert found is not None
    return found


def outcome(events: list[Event]) -> tuple[str, str | None]:
    """The stop reason, and the kind of the failure."""
    last = end(events)
    return last.stop_reason, last.failure.kind if last.failure else None


def text(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Text))


def thinking(events: list[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Thinking))


def calls(events: list[Event]) -> list[ToolCall]:
    return [e for e in events if isinstance(e, ToolCall)]


def called(events: list[Event]) -> list[tuple[str, str, Any]]:
    """The calls without their raw arguments."""
    return [(e.id, e.name, e.arguments) for e in calls(events)]
