"""Connections: which is used, what bounds them, TLS, proxies; and that nothing is left however a call ends."""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from servers import Conn, FaultServer, drip_sse, hang, redirect, reset_midbody, status, unused_port
from transport_tools import (
    LOCAL,
    PLACES,
    a_client,
    answers,
    chunked,
    fetch,
    for_ever,
    no_descriptor_left,
    nothing_out,
    ok,
    opened,
    origin,
    ours,
    until,
    whole,
)
from trio_tests import in_trio

from luahost.errors import ConfigError, WorldError
from luahost.gate.hosts import Origin
from luahost.transport import client as client_module
from luahost.transport import pool
from luahost.transport.connections import Transport
from luahost.transport.pool import Connection
from luahost.transport.settings import TransportSettings


def by_number(conn: Conn) -> None:
    """Says which connection it is."""
    while request := conn.read_request():
        if request.path == "/slow":
            conn.wait(0.05)
        conn.send(ok(str(conn.number).encode()))


# ── which connection ────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_the_connection_used_last_is_the_one_used_next() -> None:
    with FaultServer(by_number) as server:
        async with ours() as (client, transport):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(fetch, client, server.url + "/slow")
            assert transport.idle_count == server.connections == 3
            first = (await fetch(client, server.url)).text
            assert [(await fetch(client, server.url)).text for _ in range(5)] == [first] * 5
        assert server.connections == 3


@in_trio
async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    with FaultServer(answers(ok())) as server:
        async with ours() as (client, transport):
            for _ in range(3):
                assert (await fetch(client, server.url)).content == b"ok"
                await until(lambda: all(conn.closed for conn in server.conns))
            assert transport.idle_count == 1
        assert (server.connections, len(server.requests)) == (3, 3)


@pytest.mark.parametrize("size", [0, 200_000])
def test_a_server_that_closes_just_as_a_connection_is_reused_gets_the_request_once(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the stream is on its way while the request is sent: nothing of it was taken."""
    monkeypatch.setattr(Connection, "is_stale", lambda self: False)

    @in_trio
    async def case() -> None:
        with FaultServer(answers(ok())) as server:
            async with ours() as (client, _):
                await fetch(client, server.url)
                await until(lambda: server.conns[0].closed)
                connected: list[float] = []
                extensions = {"on_connected": connected.append}
                response = await fetch(client, server.url, "POST", content=b"x" * size, extensions=extensions)
                assert response.content == b"ok"
                assert len(connected) == 2
            assert [(conn.number, len(conn.requests)) for conn in server.conns] == [(0, 1), (1, 1)]
            assert len(server.requests[1].body) == size

    case()


@pytest.mark.parametrize("end", [Conn.close, Conn.reset])
def test_a_request_that_the_server_took_is_not_sent_again(end: Callable[[Conn], None]) -> None:
    def handler(conn: Conn) -> None:
        conn.read_request()
        conn.send(ok())
        conn.read_request()  # takes the second one, and goes without an answer
        end(conn)

    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with ours() as (client, _):
                await fetch(client, server.url)
                with pytest.raises(httpx.RemoteProtocolError if end is Conn.close else httpx.ReadError):
                    await fetch(client, server.url, "POST", content=b"{}")
            assert (server.connections, len(server.requests)) == (1, 2)

    case()


@in_trio
async def test_a_fresh_connection_that_ends_without_an_answer_is_not_replaced() -> None:
    with FaultServer(lambda conn: conn.close()) as server:
        async with ours() as (client, _):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await fetch(client, server.url)
        assert server.connections == 1


@in_trio
async def test_a_half_closed_connection_is_not_used_again() -> None:
    def handler(conn: Conn) -> None:
        while conn.read_request():
            conn.send(ok())
            conn._sock.shutdown(socket.SHUT_WR)

    with FaultServer(handler) as server:
        async with ours() as (client, _):
            for _ in range(3):
                assert (await fetch(client, server.url)).content == b"ok"
                await trio.sleep(0.005)
        assert server.connections == 3


@in_trio
async def test_a_server_that_half_closes_behind_its_answer_is_heard_to_the_end() -> None:
    def handler(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        conn.send(b"lo")
        conn._sock.shutdown(socket.SHUT_WR)
        conn.wait(0.05)

    with FaultServer(handler) as server:
        async with ours() as (client, _):
            assert (await fetch(client, server.url)).content == b"hello"


@in_trio
async def test_who_may_not_reach_a_private_address_does_not_get_a_connection_to_one() -> None:
    """One caller was let to it by name; the connection stays with such callers."""
    with FaultServer(by_number) as server:
        async with ours() as (client, transport):
            await fetch(client, server.url)
            assert transport.idle_count == 1
            with pytest.raises(httpx.ConnectError, match="private address"):
                await client.get(server.url)
            assert (await fetch(client, server.url)).text == "0"


# ── what bounds them ────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_no_more_are_open_than_there_are_places_and_the_wait_is_told() -> None:
    with FaultServer(by_number) as server:
        async with ours(3) as (client, transport):
            waits: list[float] = []

            async def one() -> None:
                response = await fetch(client, server.url + "/slow")
                waits.append(response.extensions["queue_s"])

            async with trio.open_nursery() as nursery:
                for _ in range(9):
                    nursery.start_soon(one)
                await until(lambda: server.connections == 3)
                assert transport.free_places == 0
        assert server.connections == 3
    waits.sort()
    assert waits[:3] == [pytest.approx(0, abs=0.04)] * 3
    assert waits[3] > 0.04
    assert waits[6] > 0.09


@in_trio
async def test_who_waits_for_a_place_can_be_cancelled_or_give_up() -> None:
    with FaultServer(hang) as server:
        async with ours(1) as (client, transport):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, client, server.url)
                await until(lambda: len(server.requests) == 1)
                with trio.move_on_after(0.01) as scope:
                    await fetch(client, server.url)
                assert scope.cancelled_caught
                with pytest.raises(httpx.PoolTimeout):
                    await fetch(client, server.url, timeout=httpx.Timeout(None, pool=0.01))
                assert transport.free_places == 0
                nursery.cancel_scope.cancel()
            nothing_out(transport, 1)


@in_trio
async def test_idle_connections_use_only_places_that_nobody_has() -> None:
    servers = [FaultServer(by_number) for _ in range(6)]
    for server in servers:
        server.start()
    try:
        async with ours(4) as (client, transport):
            for server in servers:
                await fetch(client, server.url)
                assert transport.idle_count <= 4
            assert transport.idle_count == 4
            await until(lambda: [server.open_connections for server in servers] == [0, 0, 1, 1, 1, 1])
            async with trio.open_nursery() as nursery:
                for server in servers[:3]:
                    nursery.start_soon(fetch, client, server.url + "/slow")
                await trio.sleep(0.02)
                assert transport.free_places == 1
                assert transport.idle_count <= 1
    finally:
        for server in servers:
            server.close()


def test_idle_connections_are_few_per_origin_and_not_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_PER_ORIGIN", 2)
    monkeypatch.setattr(pool, "IDLE_S", 0.05)

    @in_trio
    async def case() -> None:
        with FaultServer(by_number) as server, FaultServer(by_number) as other:
            async with ours() as (client, transport):
                async with trio.open_nursery() as nursery:
                    for _ in range(5):
                        nursery.start_soon(fetch, client, server.url + "/slow")
                assert transport.idle_count == 2
                await until(lambda: server.open_connections == 2)
                await trio.sleep(0.06)
                await fetch(client, other.url)
                assert transport.idle_count == 1  # the other's; the old ones are closed
                await until(lambda: server.open_connections == 0)
                await trio.sleep(0.06)
                await fetch(client, other.url)
                assert other.connections == 2

    case()


@in_trio
async def test_closing_the_transport_ends_what_is_under_way() -> None:
    with FaultServer(hang) as server:
        async with ours() as (client, transport), trio.open_nursery() as nursery:

            async def one() -> None:
                with pytest.raises(httpx.ReadError):
                    await fetch(client, server.url)

            nursery.start_soon(one)
            await until(lambda: len(server.requests) == 1)
            await transport.aclose()


# ── the client: caps, kinds, and what it does not do ────────────────────────────────────────────────────────


async def failure(handler: Callable[[Conn], None], **more: Any) -> WorldError:
    with FaultServer(handler) as server:
        async with a_client() as client:
            with pytest.raises(WorldError) as caught:
                async with opened(client, origin(server), **more) as answer:
                    await whole(answer)
    return caught.value


def endless(start: bytes, again: bytes) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn.read_request()
        conn.send(start)
        while True:
            conn.send(again)

    return handler


def after_request(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn.read_request()
        end(conn)

    return handler


def at_first_byte(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn.next_request_comes()
        end(conn)

    return handler


def after_hello(end: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def handler(conn: Conn) -> None:
        conn._sock.recv(9999)
        end(conn)

    return handler


LINE = b"X-A: " + b"a" * 1000 + b"\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = {
    "endless headers": endless(b"HTTP/1.1 200 OK\r\n", LINE),
    "one endless header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096),
    "an endless reason": endless(b"HTTP/1.1 200 ", b"x" * 4096),
    "endless 1xx": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "endless headers in a 1xx": endless(b"HTTP/1.1 100 Continue\r\n", LINE),
    "endless chunk extension": endless(CHUNKED_HEAD + b"5;", b"x" * 4096),
    "endless extensions of tiny chunks": endless(CHUNKED_HEAD, b"1;" + b"x" * 4096 + b"\r\na\r\n"),
    "endless trailers": endless(CHUNKED_HEAD + b"0\r\n", LINE),
    "endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    "endless chunks": endless(CHUNKED_HEAD, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "a body as long as it says, and that is too long": endless(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 65536
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_a_server_sends_for_ever_is_too_large(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1_000_000)

    @in_trio
    async def case() -> None:
        error = await failure(TOO_LARGE[name])
        assert (error.kind, error.retryable, error.phase) == ("too_large", False, "")

    case()


def bombs() -> dict[str, bytes]:
    zeros = bytes(20_000_000)
    made = {"gzip": gzip.compress(zeros), "deflate": zlib.compress(zeros)}
    made["gzip, gzip"] = gzip.compress(gzip.compress(zeros))
    try:
        import brotli
        import zstandard
    except ImportError:
        return made
    return made | {"br": brotli.compress(zeros, quality=5), "zstd": zstandard.compress(zeros)}


@pytest.mark.parametrize("chunks", [False, True])
def test_a_bomb_is_too_large_and_never_whole_in_memory(chunks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1_000_000)
    largest = 0
    receive = client_module.Answer.receive

    async def watched(self: Any) -> bytes | None:
        nonlocal largest
        piece = await receive(self)
        largest = max(largest, len(piece or b""))
        return piece

    monkeypatch.setattr(client_module.Answer, "receive", watched)
    for coding, bomb in bombs().items():
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n".encode()
        body = b"Content-Length: %d\r\n\r\n%s" % (len(bomb), bomb)
        if chunks:
            body = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(bomb), bomb)

        @in_trio
        async def case(answer: bytes = head + body) -> None:
            error = await failure(for_ever(answer))
            assert (error.kind, error.retryable) == ("too_large", False)

        case()
    assert largest <= 1_000_000


@in_trio
async def test_ten_megabytes_are_allowed() -> None:
    body = b"x" * client_module.MAX_BODY_BYTES
    plain, small = ok(body), ok(gzip.compress(body), "Content-Encoding: gzip")
    with FaultServer(answers(plain, small)) as server:
        async with a_client() as client:
            for _ in range(2):
                async with opened(client, origin(server)) as answer:
                    assert await whole(answer) == body
        assert server.connections == 1


KINDS: dict[str, tuple[Callable[[Conn], None], str, bool]] = {
    "no answer": (answers(b""), "connection_reset", True),
    "reset after the request": (
        after_request(Conn.reset),
        "connection_reset",
        True,
    ),
    "cut in the head": (answers(b"HTTP/1.1 200 OK\r\nContent-"), "connection_reset", True),
    "cut in the body": (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), "connection_reset", True),
    "reset in the body": (reset_midbody, "connection_reset", True),
    "garbage": (answers(b"\x00\x01garbage\r\n\r\n"), "parse_error", True),
    "a page": (answers(b"<html>"), "parse_error", True),
    "garbage in the chunks": (answers(CHUNKED_HEAD + b"5\r\nhello\r\nzz\r\n"), "parse_error", True),
    "gzip that is none": (
        answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone"),
        "parse_error",
        True,
    ),
    "compressed thrice": (
        answers(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip, gzip\r\nContent-Length: 4\r\n\r\nnone"),
        "parse_error",
        True,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_broken_answer_has_a_kind(name: str) -> None:
    handler, kind, retryable = KINDS[name]

    @in_trio
    async def case() -> None:
        error = await failure(handler)
        assert (error.kind, error.retryable, error.phase) == (kind, retryable, "")
        assert error.message.startswith("http://127.0.0.1:")

    case()


@in_trio
async def test_what_came_before_garbage_is_given_out_first() -> None:
    with FaultServer(answers(CHUNKED_HEAD + b"5\r\nhello\r\nzz\r\n")) as server:
        async with a_client() as client, opened(client, origin(server)) as answer:
            assert await answer.receive() == b"hello"
            with pytest.raises(WorldError):
                await answer.receive()


@in_trio
async def test_nobody_listens() -> None:
    async with a_client() as client:
        with pytest.raises(WorldError) as caught:
            async with opened(client, Origin("http", "127.0.0.1", unused_port())):
                pass
    assert (caught.value.kind, caught.value.retryable, caught.value.phase) == (
        "connection_refused",
        False,
        "connect",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"X": "a\r\nX-Evil: 1"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": "a\0b"}},
        {"headers": {"X\r\nY": "a"}},
        {"headers": {"X": "é"}},
        {"method": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"},
    ],
)
def test_line_ends_in_a_head_are_refused_and_nothing_is_sent(given: dict[str, Any]) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(by_number) as server:
            async with a_client() as client:
                with pytest.raises(WorldError) as caught:
                    async with opened(client, origin(server), **given):
                        pass
            assert server.connections == 0
        assert caught.value.kind == "invalid_request"

    case()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_like_any_other(code: int) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(by_number) as other, FaultServer(redirect(other.url, code)) as server:
            async with a_client() as client, opened(client, origin(server)) as answer:
                assert answer.status == code
            assert other.connections == 0

    case()


@in_trio
async def test_a_cookie_is_not_kept() -> None:
    with FaultServer(for_ever(ok(b"", "Set-Cookie: id=1; Path=/", "Set-Cookie: b=2"))) as server:
        async with a_client() as client:
            for _ in range(2):
                async with opened(client, origin(server)) as answer:
                    assert answer.headers["set-cookie"] == "id=1; Path=/, b=2"
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


def test_the_environments_proxies_are_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")

    @in_trio
    async def case() -> None:
        with FaultServer(by_number) as server:
            async with a_client() as client, opened(client, origin(server)) as answer:
                assert await whole(answer) == b"0"
            assert "authorization" not in server.requests[0].headers

    case()


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────

TlsAnswer = Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]]


@asynccontextmanager
async def tls_server(context: ssl.SSLContext, answer: TlsAnswer) -> AsyncIterator[tuple[int, list[int]]]:
    """Port, and the number of requests on each connection."""
    seen: list[int] = []

    async def serve(tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        number = len(seen)
        seen.append(0)
        try:
            while await stream.receive_some(65536):
                seen[number] += 1
                await answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            tcp.socket.close()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield listeners[0].socket.getsockname()[1], seen
        nursery.cancel_scope.cancel()


async def tls_ok(stream: trio.SSLStream[trio.SocketStream]) -> None:
    await stream.send_all(ok(b"secret"))


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, tmp_path: Path) -> None:
        self._ca = pytest.importorskip("trustme").CA()
        self.file = str(tmp_path / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str, **more: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names, **more).configure_cert(context)
        return context

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_with_an_authority_from_the_settings(authority: Authority, version: Any, host: str) -> None:
    @in_trio
    async def case() -> None:
        context = authority.server("127.0.0.1", "localhost")
        context.maximum_version = context.minimum_version = version
        async with tls_server(context, tls_ok) as (port, seen), a_client(ca_file=authority.file) as client:
            for _ in range(3):
                async with opened(client, Origin("https", host, port)) as answer:
                    assert await whole(answer) == b"secret"
            assert seen == [3], "a TLS connection is used again"

    case()


def test_tls_that_cannot_be_trusted_is_told(authority: Authority, tmp_path: Path) -> None:
    import datetime

    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    (tmp_path / "other").mkdir()
    cases = [
        (authority.server("other.example"), authority.file, "127.0.0.1"),
        (authority.server("127.0.0.1", not_after=yesterday), authority.file, "expired"),
        (authority.server("127.0.0.1"), None, "certificate"),
        (Authority(tmp_path / "other").server("127.0.0.1"), authority.file, "certificate"),
    ]
    for context, ca_file, word in cases:

        @in_trio
        async def case(context: ssl.SSLContext = context, ca_file: str | None = ca_file, word: str = word) -> None:
            async with tls_server(context, tls_ok) as (port, seen), a_client(ca_file=ca_file) as client:
                with pytest.raises(WorldError, match=word) as caught:
                    async with opened(client, Origin("https", "127.0.0.1", port)):
                        pass
                assert (caught.value.kind, caught.value.retryable, caught.value.phase) == ("tls", False, "connect")
                assert sum(seen) == 0

        case()


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (lambda conn: conn.send(b"HTTP/1.1 400 No\r\n\r\n"), "tls"),
        (at_first_byte(Conn.reset), "connection_reset"),
        (after_hello(Conn.close), "connection_reset"),
    ],
)
def test_a_handshake_that_breaks_has_a_kind(handler: Callable[[Conn], None], kind: str) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with a_client() as client:
                with pytest.raises(WorldError) as caught:
                    async with opened(client, Origin("https", "127.0.0.1", server.port)):
                        pass
        assert (caught.value.kind, caught.value.phase) == (kind, "connect")

    case()


@pytest.mark.alone
@in_trio
async def test_a_handshake_that_never_ends_is_a_connect_timeout() -> None:
    def mute(conn: Conn) -> None:
        conn._sock.recv(9999)
        conn.wait()

    with FaultServer(mute) as server:
        async with a_client() as client:
            began = time.perf_counter()
            with pytest.raises(WorldError) as caught:
                async with opened(client, Origin("https", "127.0.0.1", server.port), connect_timeout_s=0.05):
                    pass
            assert 0.04 < time.perf_counter() - began < 0.5
            assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")
            await until(lambda: server.open_connections == 0)


def test_tls_bytes_behind_an_answer_are_never_the_next_answer(authority: Authority) -> None:
    async def smuggle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        # two records that arrive together; the second is decrypted only when somebody reads on
        both = []

        async def collect(data: bytes) -> None:
            both.append(bytes(data))

        send_all = stream.transport_stream.send_all
        stream.transport_stream.send_all = collect  # type: ignore[method-assign]
        await stream.send_all(ok(b"good"))
        await stream.send_all(ok(b"evil"))
        stream.transport_stream.send_all = send_all  # type: ignore[method-assign]
        await send_all(b"".join(both))

    @in_trio
    async def case() -> None:
        async with (
            tls_server(authority.server("127.0.0.1"), smuggle) as (port, seen),
            a_client(ca_file=authority.file) as client,
        ):
            for _ in range(3):
                async with opened(client, Origin("https", "127.0.0.1", port)) as answer:
                    assert await whole(answer) == b"good"
            assert seen == [1, 1, 1]

    case()


@pytest.mark.parametrize("polite", [True, False])
def test_tls_body_to_the_end_of_the_stream_is_heard_with_and_without_a_goodbye(
    authority: Authority, polite: bool
) -> None:
    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nhello")
        if polite:
            await stream.unwrap()
        stream.transport_stream.socket.close()

    @in_trio
    async def case() -> None:
        async with (
            tls_server(authority.server("127.0.0.1"), answer) as (port, _),
            a_client(ca_file=authority.file) as client,
            opened(client, Origin("https", "127.0.0.1", port)) as heard,
        ):
            assert await whole(heard) == b"hello"

    if not polite:
        case()
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.SSLStream, "unwrap", _say_goodbye)
        case()


async def _say_goodbye(stream: Any) -> None:
    """close_notify, without waiting for the other side's."""
    try:
        stream._ssl_object.unwrap()
    except ssl.SSLWantReadError:
        await stream.transport_stream.send_all(stream._outgoing.read())


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────────────────


def a_proxy(to_port: int, seen: list[str]) -> Callable[[Conn], None]:
    """Connects every name to one loopback port, and answers what is not CONNECT itself."""

    def handler(conn: Conn) -> None:
        request = conn.read_request()
        if request is None:
            return
        seen.append(f"{request.method} {request.path} {request.headers['host']}")
        if request.method != "CONNECT":
            conn.send(ok(b"by the proxy"))
            conn.whole = True
            return
        with socket.create_connection(("127.0.0.1", to_port)) as there:
            conn.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
            there.settimeout(0.005)
            conn._sock.settimeout(0.005)
            while True:
                for source, sink in ((conn._sock, there), (there, conn._sock)):
                    try:
                        data = source.recv(65536)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    sink.sendall(data)

    return handler


def test_https_goes_through_the_proxys_tunnel_and_http_with_its_whole_address(authority: Authority) -> None:
    @in_trio
    async def case() -> None:
        seen: list[str] = []
        async with tls_server(authority.server("api.example.test"), tls_ok) as (port, requests):
            with FaultServer(a_proxy(port, seen)) as server, FaultServer(by_number) as near:
                async with a_client(ca_file=authority.file, proxy=server.url) as client:
                    for _ in range(2):
                        where = Origin("https", "api.example.test", 443)
                        async with opened(client, where, may_be_private=False) as answer:
                            assert await whole(answer) == b"secret"
                    where = Origin("http", "plain.example.test", 8080)
                    async with opened(client, where, may_be_private=False, path="/x?y") as answer:
                        assert await whole(answer) == b"by the proxy"
                    async with opened(client, origin(near)) as answer:  # loopback: not through the proxy
                        assert await whole(answer) == b"0"
                    async with opened(client, origin(near, "localhost")) as answer:
                        assert await whole(answer) == b"1"
                    for literal in ("10.0.0.1", "169.254.169.254", "fd00:ec2::254"):
                        with pytest.raises(WorldError) as caught:
                            async with opened(client, Origin("http", literal, 80), may_be_private=False):
                                pass
                        assert caught.value.kind == "host_not_allowed"
        assert requests == [2]
        assert seen == [
            "CONNECT api.example.test:443 api.example.test:443",
            "POST http://plain.example.test:8080/x?y plain.example.test:8080",
        ]

    case()


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "status 403"),
        (answers(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "status 407"),
        (answers(b"what\r\n\r\n"), "does not speak HTTP"),
        (answers(b"HTTP/1.1 200"), "no answer"),
        (endless(b"HTTP/1.1 200 OK\r\n", LINE), "no answer"),
        (at_first_byte(Conn.reset), "reset"),
    ],
)
def test_a_proxy_that_refuses_is_told(handler: Callable[[Conn], None], words: str) -> None:
    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with a_client(proxy=server.url) as client:
                with pytest.raises(WorldError, match=words) as caught:
                    async with opened(client, Origin("https", "api.example.test", 443), may_be_private=False):
                        pass
        assert caught.value.kind in ("network", "connection_reset")
        assert caught.value.phase == "connect"

    case()


@in_trio
async def test_a_proxy_that_is_silent_is_a_connect_timeout() -> None:
    with FaultServer(hang) as server:
        async with a_client(proxy=server.url) as client:
            where = Origin("https", "api.example.test", 443)
            with pytest.raises(WorldError) as caught:
                async with opened(client, where, may_be_private=False, connect_timeout_s=0.05):
                    pass
            assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")


@pytest.mark.parametrize(
    "proxy", ["https://p:1", "p:1", "socks5://p:1", "http://u:SECRET@p:1", "http://", "http://p/x", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used_is_refused_by_the_settings(proxy: str) -> None:
    with pytest.raises(ConfigError, match="transport.proxy") as caught:
        TransportSettings(proxy=proxy)
    assert "SECRET" not in str(caught.value)


# ── nothing is left ─────────────────────────────────────────────────────────────────────────────────────────


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when the tasks inside it have gone to wait so many times."""

    def __init__(self, scope: trio.CancelScope, at: int) -> None:
        self._scope, self._left = scope, at
        self._task = trio.lowlevel.current_task()

    def after_task_step(self, task: Any) -> None:
        inside = task
        while inside is not None and inside is not self._task:
            inside = inside.parent_nursery.parent_task if inside.parent_nursery is not None else None
        if inside is None:
            return
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def cancelled_at(at: int, act: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the act was still under way when it had waited so many times."""
    with trio.CancelScope() as scope:
        instrument = CancelAt(scope, at)
        trio.lowlevel.add_instrument(instrument)
        try:
            await act()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


def slowly(raw: bytes) -> Callable[[Conn], None]:
    """In four pieces, so that each is waited for."""

    def handler(conn: Conn) -> None:
        while conn.read_request():
            for at in range(4):
                conn.wait(0.0005)
                conn.send(raw[at * len(raw) // 4 : (at + 1) * len(raw) // 4])

    return handler


def early(conn: Conn) -> None:
    conn.next_request_comes()
    conn.send(b"HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nea")
    conn.wait(0.001)
    conn.send(b"rly")
    conn.wait_peer_closed(5)


def closes_idle(conn: Conn) -> None:
    if conn.read_request():
        conn.send(ok())


ZIPPED = gzip.compress(b"a text that is long enough" * 100)
SCENES: dict[str, tuple[Callable[[Conn], None], int]] = {
    "length": (slowly(ok(b"x" * 1000)), 0),
    "chunked": (slowly(chunked(b"a" * 100, b"b" * 100)), 0),
    "gzip": (slowly(ok(ZIPPED, "Content-Encoding: gzip")), 0),
    "to the end": (answers(b"HTTP/1.1 200 OK\r\n\r\nhello"), 0),
    "a large body": (slowly(ok()), 4_000_000),
    "an early answer": (early, 4_000_000),
    "an idle connection that closes": (closes_idle, 0),
    "no answer": (answers(b""), 0),
    "reset": (reset_midbody, 0),
}


@pytest.mark.parametrize("name", SCENES)
def test_cancelled_at_every_point_where_it_waits_nothing_is_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, size = SCENES[name]
    if "idle" in name:
        monkeypatch.setattr(Connection, "is_stale", lambda self: False)

    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with a_client() as client:

                async def act() -> None:
                    try:
                        async with opened(client, origin(server), body=b"x" * size) as answer:
                            await whole(answer)
                    except WorldError:
                        pass

                steps = 0
                for warm in (False, True):  # on a fresh connection, then on an idle one where there is one
                    at = 1
                    while True:
                        if warm:
                            await act()
                        under_way = await cancelled_at(at, act)
                        nothing_out(client.transport, client.transport.free_places)
                        assert client.transport.idle_count <= 1
                        if not under_way:
                            break
                        if not warm:
                            client.transport._idle.close_all()
                        at += 1
                    steps += at
                assert steps > 4
            await until(lambda: server.open_connections == 0)

    case()


def test_cancelled_at_every_point_of_connecting_nothing_is_left(authority: Authority) -> None:
    """TLS, a tunnel through a proxy, several addresses at a time."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, family: int = 0, *more: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", int(port))) for last in (3, 2, 1)
            ]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    @in_trio
    async def case() -> None:
        trio.socket.set_custom_hostname_resolver(Resolver())
        seen: list[str] = []
        async with tls_server(authority.server("api.example.test"), tls_ok) as (port, _):
            with FaultServer(a_proxy(port, seen)) as server:
                for proxy in (server.url, None):
                    async with a_client(ca_file=authority.file, proxy=proxy) as client:
                        places = client.transport.free_places

                        async def act(client: Any = client) -> None:
                            async with opened(client, Origin("https", "api.example.test", port)) as answer:
                                await whole(answer)

                        at = 1
                        while await cancelled_at(at, act):
                            nothing_out(client.transport, places)
                            assert client.transport.idle_count == 0
                            at += 1
                        assert at > 10
                await until(lambda: server.open_connections == 0)

    case()


def mixed(rng: random.Random) -> Callable[[Conn], None]:
    """Any of many faults, and as often a right answer."""
    faults: list[Callable[[Conn], None]] = [
        by_number,
        by_number,
        slowly(ok(b"x" * 5000)),
        slowly(chunked(b"a" * 3000, b"b")),
        closes_idle,
        early,
        reset_midbody,
        hang,
        drip_sse(5, 0.001),
        status(503),
        answers(b""),
        answers(b"garbage"),
        answers(b"HTTP/1.1 200 OK\r\nConte"),
        lambda conn: conn.reset(),
        at_first_byte(Conn.reset),
        endless(b"HTTP/1.1 200 OK\r\n", LINE),
    ]

    def handler(conn: Conn) -> None:
        rng.choice(faults)(conn)

    return handler


@in_trio
async def test_300_random_cancels_and_time_outs_over_mixed_faults_leave_nothing() -> None:
    rng = random.Random(1)
    ends: dict[str, int] = {}
    with FaultServer(mixed(random.Random(2))) as server:
        async with ours(20) as (client, transport):

            async def exchange(size: int, timeout: httpx.Timeout) -> str:
                extensions = LOCAL | {"timeout": timeout.as_dict()}
                try:
                    request = client.build_request("POST", server.url, content=b"x" * size, extensions=extensions)
                    response = await client.send(request, stream=True)
                    body = response.extensions["body"]
                    try:
                        await body.receive()
                        await body.receive()
                    finally:
                        body.close()
                except httpx.HTTPError as error:
                    return type(error).__name__
                return "answer"

            async def one() -> None:
                end, size = "cancelled", rng.choice([0, 10, 500_000])
                limit = rng.choice(["read", "write", "connect"])
                brief = httpx.Timeout(None, **{limit: rng.choice([0.0, 0.005])})
                timeout = rng.choice([brief, httpx.Timeout(None)])

                async def act() -> None:
                    nonlocal end
                    with trio.move_on_after(0.15):  # for the servers that hang
                        end = await exchange(size, timeout)

                await cancelled_at(rng.choice([0, 0, rng.randint(1, 12)]), act)
                ends[end] = ends.get(end, 0) + 1

            for _ in range(12):
                async with trio.open_nursery() as nursery:
                    for _ in range(25):
                        nursery.start_soon(one)
                nothing_out(transport, 20)
        await until(lambda: server.open_connections == 0)
    assert sum(ends.values()) == 300
    assert min(ends["cancelled"], ends["answer"]) > 5, ends
    assert len(ends) > 4, ends


def test_the_transport_opens_nothing_until_it_is_asked() -> None:
    @in_trio
    async def case() -> None:
        with no_descriptor_left():
            transport = Transport(ssl.create_default_context, max_connections=PLACES)
            await transport.aclose()

    case()


@in_trio
async def test_certificates_are_read_when_the_first_connection_needs_them() -> None:
    asked: list[bool] = []

    def none() -> ssl.SSLContext:
        asked.append(True)
        raise FileNotFoundError("the file of certificates is gone")

    transport = Transport(none, max_connections=PLACES)
    with FaultServer(answers(ok(b"yes"))) as server:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            assert (await fetch(client, server.url)).content == b"yes"
            assert not asked
            with pytest.raises(httpx.ConnectError, match="the file of certificates is gone"):
                await fetch(client, server.url.replace("http:", "https:"))
            assert asked
    nothing_out(transport, PLACES)


def test_httpx_comes_without_its_own_command_line() -> None:
    code = (
        "import sys, luahost.transport.client; print({'rich', 'pygments', 'click'} & sys.modules.keys() or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"
