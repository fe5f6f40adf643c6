"""What the transport's tests share: a transport of ours, raw answers, cuts, and the proof that nothing is left."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
import trio
from servers import Conn, FaultServer
from trio_tests import descriptors

from luahost.gate.hosts import Origin, parse_base_url
from luahost.transport import pool
from luahost.transport.client import Answer, Client
from luahost.transport.connections import Transport
from luahost.transport.settings import TransportSettings

PLACES = 100


def cut(data: bytes, seed: int | None) -> list[bytes]:
    """The data in pieces: whole (None), single bytes (0), or cut at places that the seed chooses."""
    if seed is None:
        return [data]
    if seed == 0:
        return [data[at : at + 1] for at in range(len(data))]
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randint(1, 12))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def answers(*raw: bytes) -> Callable[[Conn], None]:
    """Each request on a connection gets the next of these bytes; after the last one the connection is closed."""

    def handler(conn: Conn) -> None:
        for answer in raw:
            if conn.read_request() is None:
                return
            conn.send(answer)

    return handler


def ok(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def for_ever(raw: bytes) -> Callable[[Conn], None]:
    """Every request on every connection gets these bytes, and the connection stays open."""

    def handler(conn: Conn) -> None:
        while conn.read_request() is not None:
            conn.send(raw)

    return handler


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@asynccontextmanager
async def ours(max_connections: int = PLACES, **more: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Transport]]:
    """httpx over our transport. At the end nothing may be checked out."""
    transport = Transport(ssl.create_default_context, max_connections=max_connections, **more)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:
        yield client, transport
        nothing_out(transport, max_connections)


def nothing_out(transport: Transport, places: int) -> None:
    assert not transport.busy, "connections are checked out"
    assert transport.free_places == places, "places are checked out"
    assert transport.idle_count <= places


LOCAL: dict[str, Any] = {"may_be_private": True}


async def fetch(client: httpx.AsyncClient, url: str, method: str = "GET", **more: Any) -> httpx.Response:
    """One request to a loopback server."""
    return await client.request(method, url, extensions=LOCAL | more.pop("extensions", {}), **more)


@asynccontextmanager
async def a_client(**settings: Any) -> AsyncIterator[Client]:
    client = Client(TransportSettings(**settings))
    places = client.transport.free_places
    try:
        yield client
        nothing_out(client.transport, places)
    finally:
        await client.close()


def origin(server: FaultServer, host: str | None = None) -> Origin:
    found, _ = parse_base_url(server.url)
    return Origin(found.scheme, host or found.host, found.port)


@asynccontextmanager
async def opened(client: Client, where: Origin, **more: Any) -> AsyncIterator[Answer]:
    given: dict[str, Any] = {"headers": {}, "body": b"{}", "connect_timeout_s": 5.0, "may_be_private": True} | more
    method, path = given.pop("method", "POST"), given.pop("path", "/v1")
    async with client.open(method, where, path, **given) as answer:
        yield answer


async def whole(answer: Answer) -> bytes:
    body = b""
    while (piece := await answer.receive()) is not None:
        body += piece
    return body


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() <= before, "sockets were left open"


def receive_at_most(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(pool, "RECV_BYTES", count)


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await trio.sleep(0.001)
