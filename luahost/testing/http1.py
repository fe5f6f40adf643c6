"""HTTP/1.x on a blocking socket, the server's side: one request read whole, the bytes of an answer made.

`RequestReader` reads what clients really send: bodies by length or in chunks, `Expect: 100-continue`,
pipelined requests, and refuses what is no HTTP or too large. Answers are bytes and nothing more, so that a
test can send any part of one, or a wrong one.

Knows no routes, no threads, no model, but that errors wear OpenAI's envelope.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


class Refusal(Exception):
    """A request answered with OpenAI's error envelope."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.envelope = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class RawRequest(NamedTuple):
    """One HTTP request. Header names are lower case; a header sent twice is joined with ", "."""

    method: str
    path: str  # the target as it was sent, query included
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def keeps_alive(self) -> bool:
        return self.version == "HTTP/1.1" and "close" not in self.headers.get("connection", "").lower()


class RequestReader:
    """Reads HTTP/1.x requests from a blocking socket; bytes past one request stay for the next."""

    def __init__(self, sock: socket.socket, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._sock = sock
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    @property
    def has_bytes(self) -> bool:
        return bool(self._buffer)

    def next(self) -> RawRequest | None:
        """The next request; None when the peer ended before one was whole. Raises Refusal, and then the
        connection cannot be used any more."""
        try:
            head = self._until(b"\r\n\r\n", MAX_HEAD_BYTES).decode("latin-1").lstrip("\r\n").split("\r\n")
            method, path, version = self._request_line(head[0])
            headers: dict[str, str] = {}
            for line in head[1:]:
                name, colon, value = line.partition(":")
                if not colon or not name or name != name.strip():
                    raise Refusal(400, "a header line without a name")
                name, value = name.lower(), value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            return RawRequest(method, path, headers, self._body(headers), version)
        except EOFError:
            return None

    @staticmethod
    def _request_line(line: str) -> tuple[str, str, str]:
        words = line.split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refusal(400, "not an HTTP/1.x request line")
        return words[0], words[1], words[2]

    def _body(self, headers: dict[str, str]) -> bytes:
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = 0 if chunked else self._size(headers.get("content-length", "0"), 10)
        if headers.get("expect", "").lower() == "100-continue" and not self._buffer:
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not chunked:
            return self._exactly(length)
        body = bytearray()
        while size := self._size(self._until(b"\r\n", 1024).decode("latin-1").partition(";")[0], 16, len(body)):
            body += self._exactly(size)
            self._exactly(2)
        while self._until(b"\r\n", MAX_HEAD_BYTES):
            pass  # trailers say nothing a test asks for
        return bytes(body)

    def _size(self, text: str, base: int, so_far: int = 0) -> int:
        try:
            size = int(text, base)
        except ValueError:
            size = -1
        if size < 0:
            raise Refusal(400, "a body length that is no number")
        if size + so_far > self._max_body_bytes:
            raise Refusal(413, f"the body is larger than {self._max_body_bytes} bytes")
        return size

    def _until(self, mark: bytes, max_bytes: int) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > max_bytes:
                raise Refusal(400, "the head of the request is too large")
            self._more()
        return self._exactly(at + len(mark))[: -len(mark)]

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _more(self) -> None:
        data = self._sock.recv(256 * 1024)
        if not data:
            raise EOFError
        self._buffer += data


def response_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def http_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)
