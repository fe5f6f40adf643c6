"""One HTTP/1 answer, from bytes as they come to a head and pieces of a body. Knows no socket.

The idea: a head is collected until its blank line, so that its cap is exact and its odd spellings (folded lines,
bare line feeds, a length said twice) are made plain once; then llhttp (httptools) reads it, and the body after
it. 1xx answers are read over. Bytes behind an answer are no error of that answer: `excess` says that its
connection is not to be used again. What is wrong is kept in `error`, behind the pieces that came before it.

Where this differs from httpx's own parser (h11): tests/transport/test_oracle.py has the list.
"""

from __future__ import annotations

import re

import httptools
import httpx

HEAD_BYTES = 64 * 1024
"""A status line and headers may be this long together; so may an endless row of 1xx answers, and what a chunked
body has besides its pieces (there in addition to 16 bytes for each byte of the body)."""
NO_BODY = {204, 304}


class HeadTooLarge(httpx.RemoteProtocolError):
    """Headers without end."""


class NotHttp(httpx.RemoteProtocolError):
    """The bytes are no HTTP answer."""


_BLANK_LINE = re.compile(rb"\n\r?\n")
_ODD_LINES = re.compile(rb"\n[ \t]|[^\r]\n")
_FOLDED_STATUS = re.compile(rb"[^\n]*\n[ \t]")
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")
_FRAMING = re.compile(rb"\n(?:content-length|transfer-encoding):([^\r\n]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([^\r\n]*?)[ \t]*\r", re.IGNORECASE)


class Parser:
    """Fed until `done`. `head_done` comes first; then `status`, `reason` and `headers` stand."""

    def __init__(self, method: bytes) -> None:
        self._llhttp = httptools.HttpResponseParser(self)
        self._llhttp.set_dangerous_leniencies(lenient_chunked_length=True)  # beside a length, chunked wins
        self._method = method
        self._head = bytearray()
        self._overhead = 0  # bytes that were no body
        self._body_bytes = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.http_version = b""
        self.status = 0
        self.pieces: list[bytes] = []
        self.error: httpx.RemoteProtocolError | None = None
        self.head_done = False
        self.done = False
        self.until_eof = False
        self.excess = False
        self.keep = False

    @property
    def reusable(self) -> bool:
        """Whether the connection may have another exchange after this answer."""
        return self.done and self.keep and not self.until_eof and not self.excess and self.error is None

    @property
    def silent(self) -> bool:
        """Whether no byte came."""
        return not self._overhead and not self._head

    def feed(self, data: bytes) -> None:
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if self.done:
                self.excess = True
            else:
                self.error = NotHttp(f"no HTTP answer: {error}")
        except httpx.RemoteProtocolError as error:
            self.error = error

    def eof(self) -> None:
        """The server sends no more."""
        if self.until_eof:
            self.done = True
        elif not self.done and self.error is None:
            what = "the body was complete" if self.head_done else "it answered"
            self.error = httpx.RemoteProtocolError(f"the server closed the connection before {what}")

    def _feed(self, data: bytes) -> None:
        while not self.head_done:
            searched = max(0, len(self._head) - 2)
            self._head += data
            if not b"HTTP/".startswith(self._head[:5]):
                raise NotHttp("no HTTP answer")
            blank = _BLANK_LINE.search(self._head, searched)
            size = len(self._head) if blank is None else blank.end()
            if self._overhead + size > HEAD_BYTES:
                raise HeadTooLarge(f"a head of more than {HEAD_BYTES} bytes")
            if blank is None:
                return
            head, data = bytes(self._head[:size]), bytes(self._head[size:])
            self._head.clear()
            self._overhead += size
            self._llhttp.feed_data(_plain(head))
        if self.done:
            self.excess = self.excess or bool(data)
            return
        before = self._body_bytes
        self._llhttp.feed_data(data)
        self._overhead += len(data) - (self._body_bytes - before)
        if not self.done and self._overhead > HEAD_BYTES + 16 * self._body_bytes:
            raise HeadTooLarge("a chunked body with more about it than in it")

    # ── what llhttp calls ───────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        if self.done:
            self.excess = True

    def on_status(self, reason: bytes) -> None:
        if not self.head_done:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:  # afterwards it is a trailer
            self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        if self.head_done:
            return
        status = self._llhttp.get_status_code()
        if status < 100 or status == 101:  # nobody asked to switch protocols
            raise NotHttp(f"no HTTP answer: status {status}")
        if status < 200:
            self.headers, self.reason = [], b""
            return
        self.status, self.head_done = status, True
        self.http_version = f"HTTP/{self._llhttp.get_http_version()}".encode()
        said = {name.lower(): value for name, value in self.headers}
        coding, length = said.get(b"transfer-encoding"), said.get(b"content-length")
        self.keep = self._llhttp.should_keep_alive() and (coding is None or length is None)
        if self._method == b"HEAD" or status in NO_BODY:
            self.done = True  # whatever the headers say, there is no body
        elif coding is not None and coding.lower() != b"chunked":
            raise NotHttp("no transfer coding but chunked was asked for")
        elif coding is None and length is None:
            self.until_eof = True

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self.pieces.append(data)
            self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.done = True


def _plain(head: bytes) -> bytes:
    """The head as llhttp, which is strict, takes it."""
    if _ODD_LINES.search(head):
        if _FOLDED_STATUS.match(head):
            raise NotHttp("no HTTP answer: a folded status line")
        head = head.replace(b"\r\n", b"\n")
        head = _FOLD.sub(b" ", head[:-2]) + b"\n\n"
        head = head.replace(b"\n", b"\r\n")
    framing = _FRAMING.findall(head)
    if len(framing) > 1 or (framing and b"," in framing[0]):
        head = _one_length(head)
    return head


def _one_length(head: bytes) -> bytes:
    """A length that is said more than once, and the same each time, is said once."""
    lengths: set[bytes] = {value.strip() for said in _LENGTH.findall(head) for value in said.split(b",")}
    if len(lengths) > 1:
        raise NotHttp("no HTTP answer: two lengths")
    first = True

    def once(match: re.Match[bytes]) -> bytes:
        nonlocal first
        if not first:
            return b"\r"
        first = False
        start: bytes = match[0][: match.start(1) - match.start()]
        return start + next(iter(lengths)) + b"\r"

    return _LENGTH.sub(once, head).replace(b"\r\r\n", b"\r\n")
