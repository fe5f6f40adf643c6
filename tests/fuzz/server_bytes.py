"""What a server may send: HTTP answers, event streams, and the four wires in them. Nothing raises, an answer ends
exactly once, and where the bytes were cut on their way changes nothing of what is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from mutating import ByteTarget, cuts_of, pieces

from luahost.transport.parser import Parser
from luahost.wire.events import End, Text, Thinking, ToolCall
from luahost.wire.sse import EventTooLarge, SSEParser
from luahost.wire.wires import NAMES

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
TYPES = ["text/event-stream", "application/json", "application/x-ndjson", "", "text/html"]
WORDS = [
    *(
        b"data: ",
        b"\n\n",
        b"event: error\n",
        b"[DONE]",
        b"null",
        b"{}",
        b"[]",
        b'"finish_reason":"tool_calls"',
        b"true",
    ),
    *(
        b'"index":-1',
        b'"index":99999999',
        b'{"error":{"message":"x","code":429}}',
        b'"type":"message_stop"',
        b'"usage":{}',
    ),
    *(
        b'"done":true',
        b'"delta":{"content":[1]}',
        b'"candidates":[{}]',
        b'"content":null',
        b": ping\n",
        b"retry: 9\n",
    ),
]


@cache
def recorded() -> list[bytes]:
    files = [file for ending in ("sse", "json", "ndjson", "txt") for file in RECORDINGS.rglob(f"*.{ending}")]
    return [data for file in sorted(files) if len(data := file.read_bytes()) <= 20_000]


def check_wire(wire: str) -> Callable[[bytes], None]:
    module = import_module(f"luahost.wire.{wire.replace('-', '_')}")

    def check(data: bytes) -> None:
        rng = cuts_of(data)
        status = rng.choice((200, 200, 200, 200, 400, 429, 500, 204))
        kind = rng.choice(TYPES)

        def read(parts: list[bytes]) -> list[Any]:
            decoder = module.Decoder(
                status=status, content_type=kind, headers={}, model="m", now_s=1.0, max_bytes=32 * 1024
            )
            events = [event for part in parts for event in decoder.feed(part)]
            events += decoder.close(False)
            ends = [event for event in events if isinstance(event, End)]
            assert len(ends) == 1 and events[-1] is ends[0], f"{len(ends)} ends"
            assert decoder.ended and decoder.feed(b"data: {}\n\n") == [] and decoder.close() == [], "it goes on"
            end = ends[0]
            if end.failure is not None:
                assert len(end.failure.message) < 20_000, "a long message"
                handed_out = any(isinstance(event, ToolCall) for event in events)
                assert decoder.started_content or not handed_out, f"a call that a retry would hand out again: {end}"
            for event in events:
                msgspec.json.encode(event)
            return events

        whole, cut = read([data]), read(pieces(data, rng))
        assert _told(whole) == _told(cut), f"a cut changes what is read:\n{_told(whole)}\n{_told(cut)}"

    return check


def _told(events: list[Any]) -> Any:
    end = events[-1]
    calls = [(call.name, call.raw) for call in events if isinstance(call, ToolCall)]
    texts = ["".join(event.text for event in events if isinstance(event, kind)) for kind in (Text, Thinking)]
    return [*texts, calls, end.stop_reason, end.failure and end.failure.kind]


def check_sse(data: bytes) -> None:
    whole, cut = _sse([data]), _sse(pieces(data, cuts_of(data)))
    if whole[1] == cut[1] is False:
        assert whole == cut, f"a cut changes the events:\n{whole}\n{cut}"


def _sse(parts: list[bytes]) -> tuple[list[tuple[str, bytes]], bool]:
    parser, events = SSEParser(4096), []
    try:
        for part in parts:
            events += parser.feed(part)
        events += parser.close()
    except EventTooLarge as large:
        return [(event.event, event.data) for event in events + large.events], True
    return [(event.event, event.data) for event in events], False


def check_http(data: bytes) -> None:
    method = cuts_of(data).choice((b"GET", b"POST", b"HEAD"))
    whole, cut = _http(method, [data]), _http(method, pieces(data, cuts_of(data)))
    assert whole == cut, f"a cut changes the answer:\n{whole}\n{cut}"


def _http(method: bytes, parts: list[bytes]) -> Any:
    parser = Parser(method)
    for part in parts:
        if parser.done or parser.error is not None:
            break
        parser.feed(part)
    parser.eof()
    assert parser.done or parser.error is not None, "neither an answer nor an error"
    assert not (parser.reusable and parser.error), "a broken connection is used again"
    if parser.error is not None:
        return type(parser.error).__name__, len(b"".join(parser.pieces)) if parser.head_done else 0
    return parser.status, parser.headers, b"".join(parser.pieces)


HTTP = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: a\r\n b\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\nContent-Length: 2\nContent-Length: 2\n\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1;a=b\r\nx\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
]
HTTP_WORDS = [
    *(
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b": ",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
    ),
    *(b"HTTP/1.1 ", b"HTTP/2 ", b"-1", b"+5", b"5, 5", b"ffffffffffffffff\r\n", b"chunked, gzip", b"\t", b";x\r\n"),
]
STREAMS = [b"data: a\n\n", b"event: x\ndata: 1\ndata: 2\r\n\r\nid: 7\rretry: 10\r\r", b": c\n\nerror: {}\n\n"]

fuzz_sse = ByteTarget(
    check_sse, lambda: [*STREAMS, *recorded()[:10]], [*WORDS, b"\r", b"\r\n", b"id: \0\n", b"data"]
)
fuzz_http = ByteTarget(check_http, lambda: HTTP, HTTP_WORDS)
WIRES = {wire: ByteTarget(check_wire(wire), recorded, WORDS) for wire in NAMES}
