"""HTTP/1.1 under httpx: httpx keeps its API and its types, the sockets are ours.

httpx's own pool looks at every request and connection on every event and gives out at a thousand waiting calls;
here an origin has a stack of idle connections, and taking one is a pop. One exchange at a time per connection;
whatever ends it early closes the socket, so a cancelled call leaves nothing.

Errors leave as httpx's own exceptions: ConnectError, ConnectTimeout, ReadError, ReadTimeout, RemoteProtocolError
(NotHttp, HeadTooLarge), WriteError, WriteTimeout, PoolTimeout, LocalProtocolError.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from functools import partial
from typing import NamedTuple

import httpx
import trio

from luahost.pace import Pace
from luahost.transport import addresses, proxy
from luahost.transport.parser import Parser
from luahost.transport.pool import Connection, Idle, Key, within
from luahost.transport.queue import Places

SENT_AT_ONCE_BYTES = 64 * 1024
"""A longer body is sent while already listening: a server may answer, and refuse, before it has all of it."""

Finish = Callable[[Connection, bool], None]
Receive = Callable[[], Awaitable[None]]
"""Waits for the next bytes of an answer, and for its turn to read them; its parser has them then."""


class Timeouts(NamedTuple):
    """httpx's four, in seconds; math.inf for none."""

    pool: float = math.inf
    connect: float = math.inf
    write: float = math.inf
    read: float = math.inf


class Asked(NamedTuple):
    """One request as it is written."""

    key: Key
    method: bytes
    first: bytes
    rest: bytes
    timeouts: Timeouts
    on_connected: Callable[[float], None]
    owner: Hashable
    queue_s: float = 0.0


class Body(httpx.AsyncByteStream):
    """An answer's body as it comes. Ends its connection's exchange when it is over, or when it is closed."""

    def __init__(self, connection: Connection, parser: Parser, receive: Receive, finish: Finish) -> None:
        self._connection, self._parser, self._receive, self._finish = connection, parser, receive, finish
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
            if parser.error is not None:
                raise parser.error
            if parser.done:
                self.close()
                return None
            await self._receive()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.receive()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._finish(self._connection, self._parser.reusable and not self._parser.pieces)
            self._parser.pieces = []

    async def aclose(self) -> None:
        self.close()


class Transport(httpx.AsyncBaseTransport):
    """The transport that luahost's httpx.AsyncClient stands on.

    Request extensions it reads: `timeout` (httpx's own), `may_be_private` (default False), `owner` (for whom it is:
    owners take turns for places), `on_connected` (called with the seconds spent waiting for a place, when a
    connection stands and the request is about to be sent; again, with 0, where an idle connection turns out to be
    closed). Response extensions: `queue_s`, those seconds; `body`, the Body.
    """

    def __init__(
        self,
        make_context: Callable[[], ssl.SSLContext],
        *,
        max_connections: int,
        proxy: httpx.URL | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._make_context, self._proxy = make_context, proxy
        self._context: ssl.SSLContext | None = None
        self._making = trio.Lock()
        self._pace = Pace() if pace is None else pace
        self._places = Places(max_connections)
        self._lookups = addresses.Lookups()
        self._idle = Idle()
        self.busy: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = self._asked(request, await request.aread())
        began = trio.current_time()
        with within(asked.timeouts.pool, httpx.PoolTimeout, "no connection came free"):
            await self._places.acquire(asked.owner)
        asked = asked._replace(queue_s=trio.current_time() - began)
        try:
            connection, parser = await self._send(asked)
        except BaseException:
            self._places.release(asked.owner)
            raise
        body = Body(connection, parser, partial(self._receive, connection, parser, asked), self._finisher(asked))
        if parser.done and not parser.pieces:
            body.close()
        extensions = {
            "http_version": parser.http_version,
            "reason_phrase": parser.reason,
            "queue_s": asked.queue_s,
            "body": body,
        }
        return httpx.Response(parser.status, headers=parser.headers, stream=body, extensions=extensions)

    async def aclose(self) -> None:
        self._idle.close_all()
        for connection in list(self.busy):
            connection.close()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def free_places(self) -> int:
        return self._places.free

    # ── one exchange ────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, asked: Asked) -> tuple[Connection, Parser]:
        """Sends the request and reads the answer's head. An idle connection that the server closed before it got
        anything of this request is replaced, once."""
        connection = self._idle.take(asked.key)
        if connection is not None:
            parser = await self._exchange(connection, asked, reused=True)
            if parser is not None:
                return connection, parser
            asked = asked._replace(queue_s=0.0)
        connection = await self._connect(asked)
        parser = await self._exchange(connection, asked, reused=False)
        assert parser is not None, "a fresh connection has an answer or an error"
        return connection, parser

    async def _exchange(self, connection: Connection, asked: Asked, *, reused: bool) -> Parser | None:
        """Nothing is left of the connection when this raises, or returns None: then another must be tried."""
        self.busy.add(connection)
        try:
            await self._pace.turn(asked.owner)
            acknowledged = connection.acknowledged() if reused else None
            asked.on_connected(asked.queue_s)
            parser = Parser(asked.method)
            try:
                await connection.send(asked.first, asked.timeouts.write)
                if asked.rest:
                    await self._send_while_listening(connection, asked, parser)
                else:
                    await self._read_head(connection, parser, asked)
            except (httpx.WriteError, httpx.RemoteProtocolError) as error:
                # Where the end of the stream acknowledges nothing, the server had closed before anything came.
                proven = acknowledged is not None or isinstance(error, httpx.WriteError)
                if not (reused and proven and parser.silent and connection.acknowledged() == acknowledged):
                    raise
                self._drop(connection)
                return None
        except BaseException:
            self._drop(connection)
            raise
        return parser

    async def _receive(self, connection: Connection, parser: Parser, asked: Asked) -> None:
        data = await connection.receive(asked.timeouts.read)
        await self._pace.turn(asked.owner)
        if data:
            parser.feed(data)
        else:
            parser.eof()

    async def _read_head(self, connection: Connection, parser: Parser, asked: Asked) -> None:
        while not parser.head_done:
            await self._receive(connection, parser, asked)
            if parser.error is not None and not parser.head_done:
                raise parser.error

    async def _send_while_listening(self, connection: Connection, asked: Asked, parser: Parser) -> None:
        failed: list[httpx.HTTPError] = []
        sent = False
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                nonlocal sent
                try:
                    await connection.send(asked.rest, asked.timeouts.write)
                    sent = True
                except httpx.HTTPError as error:  # there may be an answer all the same
                    failed.append(error)

            nursery.start_soon(send)
            try:
                await self._read_head(connection, parser, asked)
            except httpx.HTTPError as error:
                failed.append(error)
            # Whoever refuses, or has said all, needs no more of it. Others may want the rest before they go on.
            if parser.done or parser.error is not None or not 200 <= parser.status < 300:
                nursery.cancel_scope.cancel()
        if not parser.head_done:
            raise failed[0]
        parser.keep = parser.keep and sent

    # ── connections ─────────────────────────────────────────────────────────────────────────────────────

    def _finisher(self, asked: Asked) -> Finish:
        def finish(connection: Connection, reusable: bool) -> None:
            self.busy.discard(connection)
            self._places.release(asked.owner)
            if reusable:
                self._idle.put(asked.key, connection)
            else:
                connection.close()

        return finish

    def _drop(self, connection: Connection) -> None:
        self.busy.discard(connection)
        connection.close()

    async def _connect(self, asked: Asked) -> Connection:
        while len(self._idle) > self._places.free:  # idle sockets use only places that nobody has
            self._idle.close_oldest()
        with trio.move_on_after(asked.timeouts.connect):
            try:
                return await self._open(asked.key, asked.owner)
            except addresses.AddressRefused as error:
                raise httpx.ConnectError(str(error)) from error
            except (OSError, trio.BrokenResourceError) as error:
                raise httpx.ConnectError(f"no connection: {error}") from error
        raise httpx.ConnectTimeout("connecting took too long")

    async def _open(self, key: Key, owner: Hashable) -> Connection:
        host = key.host.decode("ascii")
        proxied = self._proxy is not None and proxy.is_proxied(host)
        if self._proxy is not None and proxied:
            if not key.may_be_private:
                addresses.refuse_literal(host)
            port = proxy.port_of(self._proxy)
            name, may_be_private = self._proxy.host, True
        else:
            name, port, may_be_private = host, key.port, key.may_be_private
        found = await addresses.resolve(
            name, port, may_be_private=may_be_private, lookups=self._lookups, owner=owner
        )
        tcp = await addresses.connect(found, port)
        try:
            stream: trio.abc.Stream = tcp
            if key.scheme == b"https":
                if proxied:
                    await proxy.tunnel(tcp, host, key.port)
                secure = trio.SSLStream(tcp, await self._tls(), server_hostname=host, https_compatible=True)
                await secure.do_handshake()
                stream = secure
            return Connection(tcp, stream)
        except BaseException:
            tcp.socket.close()
            raise

    async def _tls(self) -> ssl.SSLContext:
        """Made for the first that needs it, in a thread: reading all certificates takes 30 ms."""
        async with self._making:
            if self._context is None:
                self._context = await trio.to_thread.run_sync(self._make_context)
            return self._context

    def _asked(self, request: httpx.Request, content: bytes) -> Asked:
        url = request.url
        port = url.port or (443 if url.raw_scheme == b"https" else 80)
        private = bool(request.extensions.get("may_be_private", False))
        absolute = self._proxy is not None and url.raw_scheme == b"http" and proxy.is_proxied(url.host)
        rest = content if len(content) > SENT_AT_ONCE_BYTES else b""
        return Asked(
            key=Key(url.raw_scheme, url.raw_host, port, private),
            method=request.method.encode(),
            first=_head(request, absolute=absolute) + (b"" if rest else content),
            rest=rest,
            timeouts=_timeouts(request),
            on_connected=request.extensions.get("on_connected") or _nothing,
            owner=request.extensions.get("owner"),
        )


def _head(request: httpx.Request, *, absolute: bool) -> bytes:
    target = str(request.url).encode() if absolute else request.url.raw_path
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers.raw]
    for line in lines:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise httpx.LocalProtocolError("a line end inside the request's head")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _nothing(queue_s: float) -> None:
    return None


def _timeouts(request: httpx.Request) -> Timeouts:
    given = request.extensions.get("timeout", {})
    return Timeouts(*(math.inf if (limit := given.get(name)) is None else limit for name in Timeouts._fields))
