"""HTTP/1.1 connections under httpx: httpx keeps its API and its types, the sockets are ours.

httpx's own pool looks at every request and connection on every event and gives out at a thousand waiting calls;
here an origin has a stack of idle connections, and taking one is a pop. The parser is llhttp (httptools). One
exchange at a time per connection; whatever ends it early closes the socket, so a cancelled call leaves nothing.

Errors leave as httpx's own exceptions: ConnectError, ConnectTimeout, ReadError, ReadTimeout,
RemoteProtocolError, WriteError, PoolTimeout.
"""

from __future__ import annotations

import math
import select
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import httptools
import httpx
import trio

from luahost.transport import addresses

HEAD_BYTES = 64 * 1024
"""A status line and headers may be this long together; so may an endless row of 1xx answers."""
RECV_BYTES = 64 * 1024
SENT_AT_ONCE_BYTES = 64 * 1024
"""A longer body is sent while already listening: a server may answer, and refuse, before it has all of it."""
IDLE_PER_ORIGIN = 256
IDLE_S = 60.0
NO_BODY = {204, 304}

Timeouts = dict[str, float | None]


class _Parser:
    """llhttp's callbacks for one answer; 1xx answers are read over."""

    def __init__(self, method: bytes) -> None:
        self._llhttp = httptools.HttpResponseParser(self)
        self._method = method
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.status = 0
        self.head_bytes = 0
        self.head_done = False
        self.done = False
        self.keep = False
        self.until_eof = False
        self.excess = False

    def feed(self, data: bytes) -> None:
        if not self.head_done:
            self.head_bytes += len(data)
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserError as error:
            if not (self.done and isinstance(error, httptools.HttpParserUpgrade)):
                raise httpx.RemoteProtocolError(f"no HTTP answer: {error}") from None
        if not self.head_done and self.head_bytes > HEAD_BYTES:
            raise httpx.RemoteProtocolError(f"headers of more than {HEAD_BYTES} bytes")

    @property
    def http_version(self) -> bytes:
        return f"HTTP/{self._llhttp.get_http_version()}".encode()

    def on_message_begin(self) -> None:
        if self.done:
            self.excess = True  # bytes behind the answer: this connection is not to be trusted again
        self.headers, self.reason = ([], b"") if not self.done else (self.headers, self.reason)

    def on_status(self, reason: bytes) -> None:
        if not self.done:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.done:
            return
        status = self._llhttp.get_status_code()
        if status < 200 and status != 101:
            return
        self.status = status
        self.head_done = True
        self.keep = self._llhttp.should_keep_alive()
        lengths = {value for name, value in self.headers if name.lower() == b"content-length"}
        chunked = any(
            name.lower() == b"transfer-encoding" and b"chunked" in value.lower() for name, value in self.headers
        )
        if self._method == b"HEAD" or status in NO_BODY:
            self.done = True  # whatever the headers say, there is no body
        elif not lengths and not chunked:
            self.until_eof = True

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.done = True


class _Place:
    """One of the places that bound the connections in use; given back once."""

    def __init__(self, places: trio.Semaphore) -> None:
        self._places: trio.Semaphore | None = places

    def release(self) -> None:
        if self._places is not None:
            self._places.release()
            self._places = None


class Connection:
    """One socket to one origin, idle or with one exchange."""

    def __init__(self, stream: trio.abc.Stream, fileno: int) -> None:
        self._stream = stream
        self._poll = select.poll()
        self._poll.register(fileno, select.POLLIN | select.POLLHUP | select.POLLERR)
        self.used = False
        self.idle_since = 0.0

    def is_stale(self) -> bool:
        """Whether an idle connection was closed by the server, or said something nobody asked for."""
        return bool(self._poll.poll(0)) or trio.current_time() - self.idle_since > IDLE_S

    async def send(self, data: bytes, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s) as scope:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.WriteError("the connection broke while sending") from error
        if scope.cancelled_caught:
            raise httpx.WriteTimeout("sending took too long")

    async def receive(self, timeout_s: float) -> bytes:
        with trio.move_on_after(timeout_s) as scope:
            try:
                return bytes(await self._stream.receive_some(RECV_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.ReadError("the connection broke") from error
        if scope.cancelled_caught:
            raise httpx.ReadTimeout("the server took too long")
        raise AssertionError("unreachable")

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


class Body(httpx.AsyncByteStream):
    """An answer's body as it comes. Ends its connection's exchange when it is over, or when it is closed."""

    def __init__(
        self, connection: Connection, parser: _Parser, timeout_s: float, finish: Callable[[Connection, bool], Any]
    ) -> None:
        self._connection, self._parser, self._timeout_s, self._finish = connection, parser, timeout_s, finish
        self._closed = False

    async def receive(self) -> bytes | None:
        """The next piece, or None at the end."""
        parser = self._parser
        while True:
            if parser.pieces:
                piece = parser.pieces[0] if len(parser.pieces) == 1 else b"".join(parser.pieces)
                parser.pieces = []
                return piece
            if self._closed:
                return None
            if parser.done:
                await self.aclose()
                return None
            data = await self._connection.receive(self._timeout_s)
            if data:
                parser.feed(data)
            elif parser.until_eof:
                parser.done = True
            else:
                raise httpx.RemoteProtocolError("the server closed the connection before the body was complete")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.receive()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            parser = self._parser
            whole = parser.done and parser.keep and not parser.until_eof and not parser.excess
            await self._finish(self._connection, whole)


class Transport(httpx.AsyncBaseTransport):
    """The transport that luahost's httpx.AsyncClient stands on.

    Request extensions it reads: `timeout` (httpx's own), `may_be_private` (default False), `on_sent` (called when
    the connection stands and has the request, or its beginning). Response extensions: `queue_s`, the seconds
    spent waiting for a place; `body`, the Body.
    """

    def __init__(self, context: ssl.SSLContext, *, max_connections: int, proxy: httpx.URL | None = None) -> None:
        self._context, self._proxy = context, proxy
        self._places = trio.Semaphore(max_connections)
        self._idle: dict[tuple[bytes, bytes, int], list[Connection]] = {}
        self.busy: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts: Timeouts = request.extensions.get("timeout", {})
        queued = trio.current_time()
        with trio.move_on_after(_seconds(timeouts, "pool")) as waiting:
            await self._places.acquire()
        if waiting.cancelled_caught:
            raise httpx.PoolTimeout("no connection came free")
        queue_s = trio.current_time() - queued
        place = _Place(self._places)
        connection: Connection | None = None
        try:
            key = (request.url.raw_scheme, request.url.raw_host, request.url.port or _port(request.url))
            head, content = _head(request, absolute=self._plain_proxy(request)), await request.aread()
            connection, parser = await self._send(request, key, head, content, timeouts)
            finish = self._finisher(key, place)
            body = Body(connection, parser, _seconds(timeouts, "read"), finish)
            response = httpx.Response(
                parser.status,
                headers=parser.headers,
                stream=body,
                extensions={
                    "http_version": parser.http_version,
                    "reason_phrase": parser.reason,
                    "queue_s": queue_s,
                    "body": body,
                },
            )
            if parser.done and not parser.pieces:
                await body.aclose()
        except BaseException:
            if connection is not None:
                await self._drop(connection)
            place.release()
            raise
        return response

    async def aclose(self) -> None:
        connections = [each for stack in self._idle.values() for each in stack] + list(self.busy)
        self._idle.clear()
        for connection in connections:
            await connection.close()

    @property
    def idle_count(self) -> int:
        return sum(map(len, self._idle.values()))

    # ── one exchange ────────────────────────────────────────────────────────────────────────────────────

    async def _send(
        self,
        request: httpx.Request,
        key: tuple[bytes, bytes, int],
        head: bytes,
        content: bytes,
        timeouts: Timeouts,
    ) -> tuple[Connection, _Parser]:
        """Sends the request and reads the answer's head. An idle connection that the server has closed is
        replaced once, if nothing of this request was taken by it."""
        rest = content if len(content) > SENT_AT_ONCE_BYTES else b""
        first, write_s = head + content[: len(content) - len(rest)], _seconds(timeouts, "write")
        connection = await self._take_idle(key)
        if connection is not None:
            try:
                await connection.send(first, write_s)
            except httpx.WriteError:
                await self._drop(connection)
                connection = None
            except BaseException:
                await self._drop(connection)
                raise
        if connection is None:
            connection = await self._connect(request, key, timeouts)
            try:
                await connection.send(first, write_s)
            except BaseException:
                await self._drop(connection)
                raise
        self.busy.add(connection)
        request.extensions.get("on_sent", _nothing)()
        parser = _Parser(request.method.encode())
        try:
            if rest:
                await self._send_while_listening(connection, rest, parser, timeouts)
            else:
                await self._read_head(connection, parser, _seconds(timeouts, "read"))
        except BaseException:
            await self._drop(connection)
            raise
        return connection, parser

    @staticmethod
    async def _read_head(connection: Connection, parser: _Parser, timeout_s: float) -> None:
        while not parser.head_done:
            data = await connection.receive(timeout_s)
            if not data:
                raise httpx.RemoteProtocolError("the server closed the connection without an answer")
            parser.feed(data)

    async def _send_while_listening(
        self, connection: Connection, rest: bytes, parser: _Parser, timeouts: Timeouts
    ) -> None:
        sent = False
        failed: list[httpx.HTTPError] = []
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                nonlocal sent
                try:
                    await connection.send(rest, _seconds(timeouts, "write"))
                    sent = True
                except httpx.HTTPError as error:  # there may be an answer all the same
                    failed.append(error)

            nursery.start_soon(send)
            try:
                await self._read_head(connection, parser, _seconds(timeouts, "read"))
            except httpx.HTTPError as error:
                failed.append(error)
            nursery.cancel_scope.cancel()
        if not parser.head_done:
            raise failed[0]
        if not sent:
            parser.keep = False  # it answered before it had everything

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────

    async def _take_idle(self, key: tuple[bytes, bytes, int]) -> Connection | None:
        stack = self._idle.get(key)
        while stack:
            connection = stack.pop()
            if not connection.is_stale():
                return connection
            await connection.close()
        return None

    def _finisher(self, key: tuple[bytes, bytes, int], place: _Place) -> Callable[[Connection, bool], Any]:
        async def finish(connection: Connection, reusable: bool) -> None:
            self.busy.discard(connection)
            place.release()
            stack = self._idle.setdefault(key, [])
            if reusable and len(stack) < IDLE_PER_ORIGIN:
                connection.idle_since = trio.current_time()
                stack.append(connection)
            else:
                await connection.close()

        return finish

    async def _drop(self, connection: Connection) -> None:
        self.busy.discard(connection)
        await connection.close()

    def _plain_proxy(self, request: httpx.Request) -> bool:
        return self._through_proxy(request.url) and request.url.raw_scheme == b"http"

    def _through_proxy(self, url: httpx.URL) -> bool:
        return self._proxy is not None and url.host not in ("localhost", "127.0.0.1", "::1")

    async def _connect(
        self, request: httpx.Request, key: tuple[bytes, bytes, int], timeouts: Timeouts
    ) -> Connection:
        timeout_s = _seconds(timeouts, "connect")
        with trio.move_on_after(timeout_s) as scope:
            try:
                return await self._open(request, key)
            except addresses.AddressRefused as error:
                raise httpx.ConnectError(str(error)) from error
            except (OSError, trio.BrokenResourceError, ssl.SSLError) as error:
                raise httpx.ConnectError(f"no connection: {error}") from error
        if scope.cancelled_caught:
            raise httpx.ConnectTimeout("connecting took too long")
        raise AssertionError("unreachable")

    async def _open(self, request: httpx.Request, key: tuple[bytes, bytes, int]) -> Connection:
        scheme, raw_host, port = key
        host = raw_host.decode("ascii")
        if self._through_proxy(request.url):
            assert self._proxy is not None
            found = await addresses.resolve(self._proxy.host, self._proxy.port or 80, may_be_private=True)
            tcp = await addresses.connect(found, self._proxy.port or 80)
        else:
            private = request.extensions.get("may_be_private", False)
            found = await addresses.resolve(host, port, may_be_private=private)
            tcp = await addresses.connect(found, port)
        stream: trio.abc.Stream = tcp
        try:
            if scheme == b"https":
                if self._through_proxy(request.url):
                    await self._tunnel(tcp, host, port)
                secure = trio.SSLStream(tcp, self._context, server_hostname=host, https_compatible=True)
                await secure.do_handshake()
                stream = secure
        except BaseException:
            await trio.aclose_forcefully(tcp)
            raise
        return Connection(stream, tcp.socket.fileno())

    @staticmethod
    async def _tunnel(tcp: trio.SocketStream, host: str, port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        await tcp.send_all(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = await tcp.receive_some(1024)
            answer += data
            if not data or len(answer) > HEAD_BYTES:
                raise OSError("the proxy gave no answer")
        status = answer.split(b"\r\n", 1)[0].split(b" ")
        if len(status) < 2 or status[1] != b"200":
            raise OSError(f"the proxy answered {status[1].decode(errors='replace') if len(status) > 1 else '?'}")


def _head(request: httpx.Request, *, absolute: bool) -> bytes:
    target = str(request.url).encode() if absolute else request.url.raw_path
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw]
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise httpx.LocalProtocolError("a line end inside the request's head")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _nothing() -> None:
    return None


def _port(url: httpx.URL) -> int:
    return 443 if url.raw_scheme == b"https" else 80


def _seconds(timeouts: Timeouts, name: str) -> float:
    value = timeouts.get(name)
    return math.inf if value is None else value
