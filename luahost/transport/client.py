"""The HTTP client of the host: one request, its answer as it comes, and every failure as a kind.

One httpx.AsyncClient for all VMs: no environment proxies, no .netrc, no cookies, no redirects (a redirect
would carry a key to another server, a cookie one VM's doings to the next). Foreign exceptions end here. Knows no
wire and no session.
"""

from __future__ import annotations

import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from functools import lru_cache, partial

import httpx

from luahost.errors import WorldError
from luahost.gate.hosts import Origin
from luahost.pace import Pace
from luahost.transport.connections import Body, Transport
from luahost.transport.decoding import Decoder, Undecodable, decoder
from luahost.transport.kinds import world_error
from luahost.transport.settings import TransportSettings

PIECE_BYTES = 64 * 1024
"""Given at once, at most: a few bytes may become megabytes, and reading them takes time."""

MAX_BODY_BYTES = 10 * 1024 * 1024
"""Of one answer, as it comes and after decompression."""

HEADERS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "luahost"}
"""Of every request, unless it brings its own."""


class Answer:
    """Status, headers (lower case) and the body in pieces."""

    def __init__(self, response: httpx.Response, turn: Callable[[], Awaitable[None]]) -> None:
        self.status = response.status_code
        self.headers = dict(response.headers.items())
        self._all_headers = response.headers
        self.queue_s: float = response.extensions["queue_s"]
        self._request = response.request
        self._body: Body = response.extensions["body"]
        self._decoder: Decoder | None = decoder(self.headers.get("content-encoding", ""))
        self._turn = turn  # comes when there is time to undo some more
        self._compressed = memoryview(b"")  # received and not yet undone
        self._decoded = memoryview(b"")  # undone and not yet given
        self._came_bytes = self._given_bytes = 0

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """Every header line (name in lower case), those that stand more than once too."""
        return self._all_headers.multi_items()

    async def receive(self) -> bytes | None:
        """The next piece of the body, or None at its end. WorldError when it breaks off or is too large."""
        try:
            piece = await (self._receive() if self._decoder is None else self._receive_decoded(self._decoder))
        except (httpx.HTTPError, Undecodable) as error:
            raise world_error(error, self._request) from None
        self._given_bytes = _bounded(self._given_bytes + len(piece or b""))
        return piece

    async def _receive(self) -> bytes | None:
        piece = await self._body.receive()
        self._came_bytes = _bounded(self._came_bytes + len(piece or b""))
        return piece

    async def _receive_decoded(self, decoder: Decoder) -> bytes | None:
        while not self._decoded:
            if not self._compressed:
                came = await self._receive()
                if came is None:
                    self._decoder = None
                    return decoder.finish() or None
                self._compressed = memoryview(came)
            cut = decoder.slice_bytes
            now, self._compressed = self._compressed[:cut], self._compressed[cut:]
            await self._turn()
            self._decoded = memoryview(decoder.feed(bytes(now)))
        piece, self._decoded = self._decoded[:PIECE_BYTES], self._decoded[PIECE_BYTES:]
        return bytes(piece)


def _bounded(size: int) -> int:
    if size > MAX_BODY_BYTES:
        raise WorldError(f"the answer is larger than {MAX_BODY_BYTES} bytes", kind="too_large")
    return size


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        return None


class _HttpClient(httpx.AsyncClient):
    """Has no jar to put a cookie in; httpx would ask one for every answer."""

    @property  # type: ignore[misc]
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES


_NO_COOKIES = _NoCookies()
_known_url = lru_cache(256)(httpx.URL)


def _url(text: str) -> httpx.URL:
    return _known_url(text) if len(text) < 500 else httpx.URL(text)  # a script's own may be long, and many


class Client:
    """Made once per host, inside its event loop."""

    def __init__(self, settings: TransportSettings, pace: Pace | None = None) -> None:
        self.pace = Pace() if pace is None else pace
        self.transport = Transport(
            partial(ssl.create_default_context, cafile=settings.ca_file),
            max_connections=settings.max_connections or _most_connections(),
            proxy=httpx.URL(settings.proxy) if settings.proxy else None,
            pace=self.pace,
        )
        self._http = _HttpClient(transport=self.transport, trust_env=False, follow_redirects=False)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        origin: Origin,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        *,
        connect_timeout_s: float,
        may_be_private: bool,
        owner: Hashable = None,
        on_connected: Callable[[float], None] | None = None,
    ) -> AsyncIterator[Answer]:
        """Sends one request and waits for the head of its answer; WorldError for what goes wrong.

        Only connecting has a time limit of its own here; the caller's cancel scopes bound the rest.
        `owner` is for whom it is: where all connections are in use, owners take turns.
        `on_connected` hears, just before the request is sent, how many seconds it waited for a place.
        """
        try:
            url = _url(f"{origin}{path}")
            framing = {"host": url.netloc.decode()} | ({} if body is None else {"content-length": str(len(body))})
            given = {name.lower(): value for name, value in headers.items()}
            request = httpx.Request(
                method,
                url,
                headers=framing | HEADERS | given | framing,
                stream=httpx.ByteStream(body or b""),  # as a stream: httpx adds nothing and copies nothing
                extensions={
                    "timeout": {"connect": connect_timeout_s},
                    "may_be_private": may_be_private,
                    "owner": owner,
                    "on_connected": on_connected,
                },
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            # Not what the error says: it shows a character, which may be one of the key's.
            why = "a header is not ASCII (the key?)" if isinstance(error, UnicodeError) else str(error)
            raise WorldError(f"{origin}: no request can be made: {why}", kind="invalid_request") from None
        try:
            response = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise world_error(error, request) from None
        opened: Body = response.extensions["body"]
        try:
            yield Answer(response, partial(self.pace.turn, owner))
        except Undecodable as error:
            raise world_error(error, request) from None
        finally:
            opened.close()  # gives the connection back or closes its socket; waits for nobody

    async def close(self) -> None:
        await self._http.aclose()


def _most_connections() -> int:
    """What the descriptors of this process allow, with room left for files and workers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(20_000, soft - 256 if soft != resource.RLIM_INFINITY else 20_000))
