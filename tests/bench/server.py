"""A model server that does nothing but answer: OpenAI's wire (and Anthropic's plain answer) from canned bytes.

A process of its own, so that its CPU is not the client's. The model's name in the request says what to do:

    json-MS        one JSON answer of about 600 bytes, MS milliseconds later
    sse-N-burst    a stream of N events of 330 bytes, at once
    sse-N-US       the same, one event every US microseconds, each written by itself

Says {"port": …} on stdout and ends when stdin does.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from functools import cache
from typing import Any

from figures import ANSWER, EVENT_BYTES, EVENT_TEXT, raise_descriptors

LISTENERS = 4
BACKLOG = 4096
"""The kernel's queue of one listener is short; several on one port take a burst of ten thousand."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_MODEL = re.compile(rb'"model": *"([^"]*)"')


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@cache
def json_answer(anthropic: bool) -> bytes:
    if anthropic:
        usage = {"input_tokens": 25, "output_tokens": 40, "cache_read_input_tokens": 0, "service_tier": "standard"}
        message = {
            "id": "msg_bench0123456789",
            "type": "message",
            "role": "assistant",
            "model": "bench",
            "content": [{"type": "text", "text": ANSWER}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        return _answer(json.dumps(message).encode())
    details = {"cached_tokens": 0, "audio_tokens": 0}
    usage = {"prompt_tokens": 25, "completion_tokens": 40, "total_tokens": 65, "prompt_tokens_details": details}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": ANSWER, "refusal": None},
        "finish_reason": "stop",
    }
    body = {
        "id": "chatcmpl-bench0123456789",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "bench",
        "choices": [choice],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
    return _answer(json.dumps(body).encode())


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(**fields: Any) -> bytes:
    body: dict[str, Any] = {
        "id": "chatcmpl-bench0123456789",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        **fields,
    }
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


@cache
def _text_event() -> bytes:
    choice = {"index": 0, "delta": {"content": EVENT_TEXT}, "logprobs": None, "finish_reason": None}
    bare = _event(choices=[choice], usage=None, obfuscation="")
    return _event(choices=[choice], usage=None, obfuscation="x" * (EVENT_BYTES - len(bare)))


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunk(
    _event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
)
STREAM_TAIL = (
    _chunk(_event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    + _chunk(_event(choices=[], usage={"prompt_tokens": 25, "completion_tokens": 40, "total_tokens": 65}))
    + _chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


@cache
def burst(events: int) -> bytes:
    return STREAM_HEAD + _chunk(_text_event()) * events + STREAM_TAIL


class Client(asyncio.Protocol):
    """One connection; one request after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(buffer, 0, end + 2)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(buffer) < size:
            return
        self._buffer = buffer[size:]
        model = _MODEL.search(buffer, end)
        self._begin(model[1] if model else b"", anthropic=buffer.startswith(b"POST /v1/messages"))

    def _begin(self, model: bytes, *, anthropic: bool) -> None:
        kind, *numbers = model.split(b"-")
        if kind == b"json":
            answer, delay_ms = json_answer(anthropic), int(numbers[0])
            if delay_ms:
                self._later = self._loop.call_later(delay_ms / 1000, self._transport.write, answer)
            else:
                self._transport.write(answer)
        elif kind == b"sse" and numbers[1] == b"burst":
            self._transport.write(burst(int(numbers[0])))
        elif kind == b"sse":
            self._transport.write(STREAM_HEAD)
            self._pace(int(numbers[0]), int(numbers[1]) / 1e6, self._loop.time())
        else:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _pace(self, left: int, gap_s: float, due: float) -> None:
        now = self._loop.time()
        event = _chunk(_text_event())
        while left and due <= now:
            self._transport.write(event)
            left, due = left - 1, due + gap_s
        if left:
            self._later = self._loop.call_at(due, self._pace, left, gap_s, due)
        else:
            self._transport.write(STREAM_TAIL)


async def main() -> None:
    loop = asyncio.get_running_loop()
    port = 0
    for _ in range(LISTENERS):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        port = sock.getsockname()[1]
        await loop.create_server(lambda: Client(loop), sock=sock, backlog=BACKLOG)
    print(json.dumps({"port": port}), flush=True)
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), gone.set)
    await gone.wait()


if __name__ == "__main__":
    raise_descriptors()
    asyncio.run(main())
