"""httpx's own transport is the oracle: what it makes of a server's bytes, ours makes of them too.

Both get the same answers from the same raw server, whole, byte by byte and cut at random places; ours also when it
takes one byte at a time from the socket. DIFFERENT lists the answers on which they do not agree, and why.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import trio
from servers import Conn, FaultServer
from transport_tools import LOCAL, a_client, cut, opened, origin, ours, receive_at_most, whole
from trio_tests import in_trio

from luahost.transport.decoding import Undecodable, decoder

LONG = bytes(range(256)) * 40


def raw(*lines: str | bytes, body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    encoded = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    return end.join([*encoded, b"", b""]) + body


class Case(NamedTuple):
    answer: bytes
    method: str = "GET"
    closes: bool = False  # the server, behind its answer


OK = "HTTP/1.1 200 OK"
CHUNKED = "Transfer-Encoding: chunked"

SAME: dict[str, Case] = {
    # ── how a body ends
    "content-length": Case(raw(OK, "Content-Length: 5", body=b"hello")),
    "content-length, long": Case(raw(OK, f"Content-Length: {len(LONG)}", body=LONG)),
    "content-length with blanks around": Case(raw(OK, "Content-Length:  \t5 \t", body=b"hello")),
    "content-length twice, the same": Case(raw(OK, "Content-Length: 5", "content-length: 5", body=b"hello")),
    "content-length as a list": Case(raw(OK, "Content-Length: 5, 5", body=b"hello")),
    "empty": Case(raw(OK, "Content-Length: 0")),
    "chunked": Case(raw(OK, CHUNKED, body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")),
    "chunked, upper-case sizes, zeros": Case(raw(OK, CHUNKED, body=b"00A\r\n0123456789\r\n0000\r\n\r\n")),
    "chunked, empty": Case(raw(OK, CHUNKED, body=b"0\r\n\r\n")),
    "chunked, extensions": Case(raw(OK, CHUNKED, body=b'5;a=b;c="d e"\r\nhello\r\n0;z\r\n\r\n')),
    "chunked, trailers": Case(raw(OK, CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n")),
    "chunked in capitals": Case(raw("HTTP/1.1 200 OK", "TRANSFER-ENCODING: chunked", body=b"1\r\na\r\n0\r\n\r\n")),
    "chunked beside a length": Case(raw(OK, "Content-Length: 3", CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n")),
    "to the end of the stream": Case(raw(OK, "Content-Type: text/plain", body=b"hello"), closes=True),
    "to the end of the stream, empty": Case(raw(OK, "X: y"), closes=True),
    "head": Case(raw(OK, "Content-Length: 5"), "HEAD"),
    "head, chunked": Case(raw(OK, CHUNKED), "HEAD"),
    "204": Case(raw("HTTP/1.1 204 No Content", "X: y")),
    "304 with a length": Case(raw("HTTP/1.1 304 Not Modified", "Content-Length: 5", 'ETag: "x"')),
    "post": Case(raw(OK, "Content-Length: 2", body=b"ok"), "POST"),
    # ── keep-alive
    "connection: close": Case(raw(OK, "Connection: close", "Content-Length: 5", body=b"hello"), closes=True),
    "http/1.0": Case(raw("HTTP/1.0 200 OK", "Content-Length: 5", body=b"hello"), closes=True),
    "http/1.0, keep-alive": Case(raw("HTTP/1.0 200 OK", "Connection: keep-alive", "Content-Length: 2", body=b"ok")),
    "http/1.0 to the end of the stream": Case(raw("HTTP/1.0 200 OK", body=b"hello"), closes=True),
    "garbage behind": Case(raw(OK, "Content-Length: 5", body=b"hellogarbage"), closes=True),
    "another answer behind": Case(
        raw(OK, "Content-Length: 5", body=b"hello" + raw("HTTP/1.1 500 No", "Content-Length: 2", body=b"no")),
        closes=True,
    ),
    "garbage behind a close": Case(raw(OK, "Connection: close", "Content-Length: 2", body=b"okX"), closes=True),
    # ── heads
    "100, 102 and 103 before": Case(
        raw("HTTP/1.1 100 Continue")
        + raw("HTTP/1.1 102 Processing", "X-A: 1")
        + raw("HTTP/1.1 103 Early Hints", "Link: </x>")
        + raw(OK, "Content-Length: 2", "X-B: 2", body=b"ok")
    ),
    "repeated headers": Case(raw(OK, "Set-Cookie: a=1", "set-cookie: b=2", "X: 1", "X: 2", "Content-Length: 0")),
    "upper and lower case": Case(raw(OK, "CONTENT-LENGTH: 2", "x-lower: a", "X-UPPER: B", body=b"ok")),
    "folded": Case(raw(OK, "X: a", "  b", "\tc", "Content-Length: 2", body=b"ok")),
    "folded, nothing on the first line": Case(raw(OK, "X:", "  b", "Content-Length: 2", body=b"ok")),
    "bare line feeds": Case(raw(OK, "X: a", "Content-Length: 2", body=b"ok", end=b"\n")),
    "empty value, blanks": Case(raw(OK, "X:", "Y:   ", "Z: \t a  b \t", "Content-Length: 2", body=b"ok")),
    "latin-1 and utf-8 values": Case(raw(OK, "X: \xe9\xff", "Y: é".encode(), "Content-Length: 0")),
    "no reason": Case(raw("HTTP/1.1 200", "Content-Length: 2", body=b"ok")),
    "empty reason": Case(raw("HTTP/1.1 200 ", "Content-Length: 2", body=b"ok")),
    "unknown status": Case(raw("HTTP/1.1 299 Odd", "Content-Length: 2", body=b"ok")),
    "status 999": Case(raw("HTTP/1.1 999 Very Odd", "Content-Length: 2", body=b"ok")),
    "500": Case(raw("HTTP/1.1 500 Oh", "Content-Length: 2", body=b"no")),
    "a redirect": Case(raw("HTTP/1.1 307 Go", "Location: http://other.invalid/", "Content-Length: 2", body=b"go")),
    "an offer to upgrade": Case(raw(OK, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 2", body=b"ok")),
    "a hundred headers": Case(raw(OK, *(f"X-{n}: {n}" for n in range(100)), "Content-Length: 0")),
    "16 KB of a header": Case(raw(OK, "X: " + "x" * 16_000, "Content-Length: 0")),
}


def _compressed() -> Iterator[tuple[str, Case]]:
    text = b"a text that is long enough to be worth it, " * 200
    bodies = {
        "gzip": gzip.compress(text, mtime=0),
        "deflate": zlib.compress(text),
        "gzip, deflate": zlib.compress(gzip.compress(text, mtime=0)),
        "identity": text,
        "unheard-of": text,
        "GZIP": gzip.compress(text, mtime=0),
    }
    for coding, body in bodies.items():
        head = (OK, f"Content-Encoding: {coding}", f"Content-Length: {len(body)}")
        yield f"content-encoding {coding}", Case(raw(*head, body=body))
    body = gzip.compress(text, mtime=0)
    pieces = b"".join(
        b"%x\r\n%s\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7)
    )
    yield "gzip in chunks", Case(raw(OK, "Content-Encoding: gzip", CHUNKED, body=pieces + b"0\r\n\r\n"))
    yield "gzip, empty body", Case(raw(OK, "Content-Encoding: gzip", "Content-Length: 0"))
    yield "gzip cut short", Case(raw(OK, "Content-Encoding: gzip", "Content-Length: 30", body=body[:30]))
    yield "gzip of a head", Case(raw(OK, "Content-Encoding: gzip", "Content-Length: 30"), "HEAD")


SAME |= dict(_compressed())

MALFORMED: dict[str, Case] = {
    "nothing": Case(b"", closes=True),
    "a page without a head": Case(b"<html>hello</html>", closes=True),
    "tls": Case(b"\x15\x03\x01\x00\x02\x02\x46", closes=True),
    "half a head": Case(b"HTTP/1.1 200 OK\r\nContent-", closes=True),
    "only 100": Case(raw("HTTP/1.1 100 Continue"), closes=True),
    "lower-case http": Case(raw("http/1.1 200 OK", "Content-Length: 0"), closes=True),
    "no status": Case(raw("HTTP/1.1 OK", "Content-Length: 0"), closes=True),
    "status of four digits": Case(raw("HTTP/1.1 2000 OK", "Content-Length: 0"), closes=True),
    "status below 100": Case(raw("HTTP/1.1 099 Odd", "Content-Length: 0"), closes=True),
    "101 unasked": Case(raw("HTTP/1.1 101 Switch", "Connection: upgrade", "Upgrade: x", body=b"abc"), closes=True),
    "a blank before the colon": Case(raw(OK, "X : a", "Content-Length: 0"), closes=True),
    "no name": Case(raw(OK, ": a", "Content-Length: 0"), closes=True),
    "no colon": Case(raw(OK, "foo", "Content-Length: 0"), closes=True),
    "nul in a value": Case(raw(OK, "X: a\0b", "Content-Length: 0"), closes=True),
    "folded status line": Case(raw(OK, " X: a", "Content-Length: 0"), closes=True),
    "two lengths": Case(raw(OK, "Content-Length: 2", "Content-Length: 3", body=b"okk"), closes=True),
    "negative length": Case(raw(OK, "Content-Length: -1", body=b"ok"), closes=True),
    "signed length": Case(raw(OK, "Content-Length: +2", body=b"ok"), closes=True),
    "length in words": Case(raw(OK, "Content-Length: two", body=b"ok"), closes=True),
    "a transfer coding nobody asked for": Case(raw(OK, "Transfer-Encoding: gzip", body=b"ok"), closes=True),
    "chunked, then another coding": Case(raw(OK, "Transfer-Encoding: chunked, gzip", body=b"ok"), closes=True),
    "another coding, then chunked": Case(
        raw(OK, "Transfer-Encoding: gzip, chunked", body=b"2\r\nok\r\n0\r\n\r\n"), closes=True
    ),
    "cut in a length": Case(raw(OK, "Content-Length: 5", body=b"hel"), closes=True),
    "cut in a chunk": Case(raw(OK, CHUNKED, body=b"5\r\nhel"), closes=True),
    "cut before the last chunk": Case(raw(OK, CHUNKED, body=b"5\r\nhello\r\n"), closes=True),
    "cut in the trailers": Case(raw(OK, CHUNKED, body=b"5\r\nhello\r\n0\r\nX: "), closes=True),
    "a chunk size of letters": Case(raw(OK, CHUNKED, body=b"5\r\nhello\r\nzz\r\n"), closes=True),
    "a chunk size without an end": Case(raw(OK, CHUNKED, body=b"f" * 40), closes=True),
    "a chunk longer than it says": Case(raw(OK, CHUNKED, body=b"2\r\nhello\r\n0\r\n\r\n"), closes=True),
    "an empty chunk size": Case(raw(OK, CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n"), closes=True),
}

# Where they do not agree: (the oracle's outcome, ours, why).
DIFFERENT: dict[str, tuple[Case, str, str, str]] = {
    "control character in a value": (
        Case(raw(OK, "X: a\x01b", "Content-Length: 0"), closes=True),
        "200",
        "NotHttp",
        "RFC 9110 5.5 has no place for it; h11 lets it through",
    ),
    "HTTP/1.2": (
        Case(raw("HTTP/1.2 200 OK", "Content-Length: 0"), closes=True),
        "200",
        "NotHttp",
        "llhttp knows 0.9, 1.0, 1.1 and 2.0",
    ),
    "blanks behind a chunk size": (
        Case(raw(OK, CHUNKED, body=b"2  \r\nok\r\n0\r\n\r\n"), closes=True),
        "200",
        "NotHttp",
        "llhttp refuses them: they were used for smuggling",
    ),
    "a head of 300 KB": (
        Case(raw(OK, *(f"X-{n}: {'x' * 1000}" for n in range(300)), "Content-Length: 0"), closes=True),
        "RemoteProtocolError",
        "HeadTooLarge",
        "both have a cap: h11 100 KB, ours 64 KB",
    ),
    "a head of 70 KB": (
        Case(raw(OK, *(f"X-{n}: {'x' * 1000}" for n in range(70)), "Content-Length: 0"), closes=True),
        "200",
        "HeadTooLarge",
        "the cap is ours",
    ),
}

ALL = SAME | MALFORMED | {name: case for name, (case, *_) in DIFFERENT.items()}
NAMES = {name: f"/{at}" for at, name in enumerate(ALL)}


def serve(conn: Conn) -> None:
    request = conn.read_request()
    if request is None:
        return
    _, number, seed = request.path.split("/")
    case = list(ALL.values())[int(number)]
    for piece in cut(case.answer, None if seed == "whole" else int(seed)) if case.answer else []:
        conn.send(piece)
    conn.whole = not case.closes


Outcome = tuple[Any, ...]


async def outcome(client: httpx.AsyncClient, method: str, url: str, closes: bool = False) -> Outcome:
    """All that can be seen of an answer, raw and decoded, or the error."""
    # The oracle may meet a connection that is just being closed, and then gives up; so it is told not to keep it.
    more: dict[str, Any] = {"extensions": LOCAL, "headers": {"connection": "close"} if closes else {}}
    if method == "POST":
        more["content"] = b"{}"
    pieces: list[bytes] = []
    try:
        async with client.stream(method, url, **more) as response:
            async for piece in response.aiter_raw():
                pieces.append(piece)
        head = (
            response.status_code,
            response.headers.raw,
            response.extensions["http_version"],
            response.extensions["reason_phrase"],
        )
    except httpx.HTTPError as error:
        return (error,)
    try:
        decoded: Any = (await client.request(method, url, **more)).content
    except httpx.DecodingError:
        decoded = "DecodingError"
    return (*head, b"".join(pieces), decoded)


def both(
    name: str,
    check: Callable[[Outcome, Outcome, str], None],
    monkeypatch: pytest.MonkeyPatch,
    seeds: tuple[int | None, ...] = (None, 0, 1, 2),
) -> None:
    @in_trio
    async def compare() -> None:
        limits = httpx.Limits(max_keepalive_connections=5)
        oracle_transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False, limits=limits)
        with FaultServer(serve) as server:
            async with (
                httpx.AsyncClient(transport=oracle_transport, trust_env=False, timeout=5) as oracle,
                ours() as (client, _),
            ):
                await compare_with(oracle, client, server.url)

    async def compare_with(oracle: httpx.AsyncClient, client: httpx.AsyncClient, base: str) -> None:
        case = ALL[name]
        for seed in seeds:
            if seed == 0 and len(case.answer) > 3000:
                continue
            url = base + NAMES[name] + ("/whole" if seed is None else f"/{seed}")
            expected = await outcome(oracle, case.method, url, case.closes)
            got = await outcome(client, case.method, url, case.closes)
            check(expected, got, f"{name}, cut {seed}")
        receive_at_most(monkeypatch, 1)  # ours, with every byte a piece of its own
        if len(case.answer) <= 3000:
            check(expected, await outcome(client, case.method, url, case.closes), f"{name}, byte by byte")

    compare()


@pytest.mark.parametrize("name", SAME)
def test_an_answer_is_what_the_oracle_makes_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(expected: Outcome, got: Outcome, where: str) -> None:
        assert not isinstance(expected[0], Exception), f"{where}: the oracle has {expected[0]!r}"
        assert got == expected, where

    both(name, same, monkeypatch)


@pytest.mark.parametrize("name", [name for name, case in SAME.items() if b"Content-Encoding" in case.answer])
def test_our_client_undoes_compression_as_the_oracle_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = SAME[name].method

    @in_trio
    async def compare() -> None:
        with FaultServer(serve) as server:
            async with _oracle() as (oracle, _), a_client() as client:
                for seed in ("whole", "0", "1", "2"):
                    path = f"{NAMES[name]}/{seed}"
                    expected = await oracle.request(method, server.url + path)
                    async with opened(client, origin(server), method=method, path=path, body=None) as answer:
                        assert await whole(answer) == expected.content

    compare()


@pytest.mark.parametrize("name", MALFORMED)
def test_what_the_oracle_refuses_is_an_httpx_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(expected: Outcome, got: Outcome, where: str) -> None:
        # a reset (bytes left unread when the server closed) and an end look the same to people
        assert isinstance(expected[0], httpx.RemoteProtocolError | httpx.ReadError), where
        assert isinstance(got[0], httpx.RemoteProtocolError | httpx.ReadError), where

    both(name, refused, monkeypatch, seeds=(None, 1))


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_differences_are_those_listed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, theirs, mine, why = DIFFERENT[name]
    assert why

    def listed(expected: Outcome, got: Outcome, where: str) -> None:
        def word(found: Outcome) -> str:
            return type(found[0]).__name__ if isinstance(found[0], Exception) else str(found[0])

        assert (word(expected), word(got)) == (theirs, mine), where

    both(name, listed, monkeypatch, seeds=(None,))


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_brotli_and_zstandard_are_undone_where_httpx_can(coding: str) -> None:
    library = pytest.importorskip({"br": "brotli", "zstd": "zstandard"}[coding])
    text = b"a text that is long enough to be worth it, " * 200
    body = library.compress(text)
    answer = raw(OK, f"Content-Encoding: {coding}", f"Content-Length: {len(body)}", body=body)

    def handler(conn: Conn) -> None:
        if request := conn.read_request():
            for piece in cut(answer, int(request.path[1:]) or 0):
                conn.send(piece)
            conn.whole = True

    @in_trio
    async def compare() -> None:
        with FaultServer(handler) as server:
            async with (
                httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(verify=False, trust_env=False), trust_env=False
                ) as oracle,
                ours() as (client, _),
                a_client() as whole_client,
            ):
                for seed in range(4):
                    url = f"{server.url}/{seed}"
                    expected = await outcome(oracle, "GET", url)
                    assert await outcome(client, "GET", url) == expected
                    async with opened(whole_client, origin(server), path=f"/{seed}") as heard:
                        assert await whole(heard) == text == expected[-1]

    compare()


@pytest.mark.parametrize("wbits", [15, -15])
def test_deflate_is_undone_with_and_without_its_header_at_every_cut(wbits: int) -> None:
    """httpx gives up on the second where its first piece is one byte."""
    text = b"a text that is long enough to be worth it, " * 20
    made = zlib.compressobj(wbits=wbits)
    body = made.compress(text) + made.flush()
    for seed in (None, *range(5)):
        decoding = decoder("deflate")
        assert decoding is not None
        assert b"".join([decoding.feed(piece) for piece in cut(body, seed)] + [decoding.finish()]) == text


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_what_its_coding_says_is_undecodable(coding: str) -> None:
    decoding = decoder(coding)
    if decoding is None:
        pytest.skip(f"the library for {coding} is not installed")
    with pytest.raises(Undecodable):
        decoding.feed(b"none of it, and quite long, so that every library sees it")
        decoding.finish()


# ── many exchanges on one connection, and answers that come too early ───────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (raw(OK, "Content-Length: 2", body=b"ok"), True),
        (raw(OK, CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"), True),
        (raw("HTTP/1.1 204 No Content"), True),
        (raw("HTTP/1.1 304 Not Modified", "Content-Length: 5"), True),
        (raw("HTTP/1.0 200 OK", "Content-Length: 2", body=b"ok"), False),
        (raw(OK, "Connection: close", "Content-Length: 2", body=b"ok"), False),
        (raw(OK, "Connection: foo, Close", "Content-Length: 2", body=b"ok"), False),
    ],
)
def test_a_connection_is_used_again_where_the_oracle_would(answer: bytes, reused: bool) -> None:
    def handler(conn: Conn) -> None:
        while conn.read_request():
            conn.send(answer)

    @in_trio
    async def compare() -> None:
        for make in (_oracle, ours):
            with FaultServer(handler) as server:
                async with make() as (client, _):
                    for _ in range(3):
                        await client.get(server.url, extensions=LOCAL)
                    assert server.connections == (1 if reused else 3), make

    compare()


class _oracle:
    async def __aenter__(self) -> tuple[httpx.AsyncClient, None]:
        transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, timeout=5)
        return await self._client.__aenter__(), None

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)


@pytest.mark.parametrize("behind", [b"X", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n"])
@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_bytes_behind_an_answer_are_never_the_next_answer(behind: bytes, pause_s: float) -> None:
    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.send(raw(OK, "Content-Length: 4", body=b"good") + (b"" if pause_s else behind))
            if pause_s:
                conn.wait(pause_s / 4)
                conn.send(behind)
            conn.whole = True

    @in_trio
    async def case() -> None:
        with FaultServer(handler) as server:
            async with ours() as (client, _):
                for _ in range(3):
                    assert (await client.get(server.url, extensions=LOCAL)).content == b"good"
                    await trio.sleep(pause_s)

    case()


BIG = b"x" * 4_000_000


@pytest.mark.parametrize("status", ["413 Too Large", "401 No", "200 OK"])
def test_an_answer_that_comes_before_the_body_was_read_is_heard(status: str) -> None:
    def handler(conn: Conn) -> None:
        conn.next_request_comes()
        conn.send(raw(f"HTTP/1.1 {status}", "Connection: close", "Content-Length: 5", body=b"early"))
        conn.read_request()  # so that the oracle, which sends all before it listens, hears it too

    @in_trio
    async def compare() -> None:
        seen = []
        for make in (_oracle, ours):
            with FaultServer(handler) as server:
                async with make() as (client, _):
                    response = await client.post(server.url, content=BIG, extensions=LOCAL)
                    seen.append((response.status_code, response.headers.raw, response.content))
        assert seen[0] == seen[1]

    compare()


@in_trio
async def test_a_refusal_is_heard_by_us_even_when_the_server_never_reads_the_body() -> None:
    def handler(conn: Conn) -> None:
        conn.next_request_comes()
        conn.send(raw("HTTP/1.1 413 Too Large", "Content-Length: 5", body=b"early"))
        conn.wait_peer_closed(5)

    with FaultServer(handler) as server:
        async with ours() as (client, transport):
            response = await client.post(server.url, content=BIG * 5, extensions=LOCAL)
            assert (response.status_code, response.content) == (413, b"early")
            assert transport.idle_count == 0, "half a request was sent: the connection is of no use"


@in_trio
async def test_a_server_that_begins_a_good_answer_before_it_has_the_body_gets_all_of_it() -> None:
    got: list[int] = []

    def handler(conn: Conn) -> None:
        conn.next_request_comes()
        conn.send(raw(OK, "Content-Length: 4", body=b"do"))
        conn.wait(0.02)
        request = conn.read_request()
        assert request is not None
        got.append(len(request.body))
        conn.send(b"ne")
        conn.whole = True

    with FaultServer(handler) as server:
        async with ours() as (client, transport):
            response = await client.post(server.url, content=BIG * 3, extensions=LOCAL)
            assert (response.content, got) == (b"done", [len(BIG) * 3])
            assert transport.idle_count == 1


@in_trio
async def test_a_large_body_arrives_as_it_was_and_the_connection_is_used_again() -> None:
    def handler(conn: Conn) -> None:
        if request := conn.read_request():
            conn.respond(200, body=str(len(request.body)).encode())

    with FaultServer(handler) as server:
        async with ours() as (client, _):
            for size in (0, 1, 65_535, 65_536, 65_537, 1_000_000):
                response = await client.post(server.url, content=b"x" * size, extensions=LOCAL)
                assert response.content == str(size).encode()
        assert server.connections == 1
