"""The HTTP client of the host: one request, its answer as it comes, and every failure as a kind.

One httpx.AsyncClient for all VMs: no environment proxies, no .netrc, no cookies, no redirects (a redirect
would carry a key to another server). Foreign exceptions end here. Knows no wire and no session.
"""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import trio

from luahost.errors import WorldError
from luahost.gate.hosts import Origin
from luahost.transport.addresses import AddressRefused
from luahost.transport.connections import Body, Transport
from luahost.transport.settings import TransportSettings

MAX_BODY_BYTES = 10 * 1024 * 1024
"""Of one answer, after decompression."""

USER_AGENT = "luahost"


class Answer:
    """Status, headers (lower case) and the body in pieces."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = dict(response.headers)
        self.queue_s: float = response.extensions.get("queue_s", 0.0)
        self._response = response
        self._body: Body = response.extensions["body"]
        # httpx undoes the compression; what is not compressed comes straight from the socket.
        plain = self.headers.get("content-encoding", "identity") == "identity"
        self._decoded: AsyncIterator[bytes] | None = None if plain else response.aiter_bytes()
        self._size = 0

    async def receive(self) -> bytes | None:
        """The next piece of the body, or None at its end. WorldError when it breaks off or is too large."""
        try:
            if self._decoded is None:
                piece = await self._body.receive()
            else:
                piece = await anext(self._decoded, None)
        except httpx.HTTPError as error:
            raise _world_error(error, self._response.request) from None
        self._size += len(piece or b"")
        if self._size > MAX_BODY_BYTES:
            raise WorldError(f"the answer is larger than {MAX_BODY_BYTES} bytes", kind="too_large")
        return piece

    async def close(self) -> None:
        await self._body.aclose()
        if self._decoded is not None:  # the body is closed, so this ends at once, and httpx's generators with it
            with suppress(httpx.HTTPError):
                async for _ in self._decoded:
                    pass
        await self._response.aclose()


class Client:
    """Made once per host, inside its event loop."""

    def __init__(self, settings: TransportSettings) -> None:
        context = ssl.create_default_context(cafile=settings.ca_file)
        self.transport = Transport(
            context,
            max_connections=settings.max_connections or _most_connections(),
            proxy=httpx.URL(settings.proxy) if settings.proxy else None,
        )
        self._http = httpx.AsyncClient(
            transport=self.transport,
            trust_env=False,
            follow_redirects=False,
            headers={"user-agent": USER_AGENT, "accept-encoding": "gzip, deflate"},
        )

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
        on_sent: Callable[[], None] | None = None,
    ) -> AsyncIterator[Answer]:
        """Sends one request and waits for the head of its answer; WorldError for what goes wrong.

        Only connecting has a time limit of its own here; the caller's cancel scopes bound the rest.
        """
        request = self._http.build_request(
            method,
            f"{origin}{path}",
            headers=headers,
            content=body,
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            extensions={"may_be_private": may_be_private} | ({"on_sent": on_sent} if on_sent else {}),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _world_error(error, request) from None
        answer = Answer(response)
        try:
            yield answer
        finally:
            # Closing gives the connection back or closes its socket; it waits for nobody.
            with trio.CancelScope(shield=True):
                await answer.close()

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await self._http.aclose()


def _most_connections() -> int:
    """What the descriptors of this process allow, with room left for files and workers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(20_000, soft - 256 if soft != resource.RLIM_INFINITY else 20_000))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and everything it was raised from, groups opened."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions


# By the exception's type, never its text: (type in the chain, kind, retryable, what people read).
_BY_CAUSE: tuple[tuple[type[BaseException], str, bool, str], ...] = (
    (AddressRefused, "host_not_allowed", False, "the host is at a private address, and nothing names it for that"),
    (socket.gaierror, "dns", False, "the host name could not be resolved"),
    (ssl.SSLError, "tls", False, "the TLS connection could not be made"),
    (ConnectionRefusedError, "connection_refused", False, "nothing listens there"),
    (ConnectionResetError, "connection_reset", True, "the server reset the connection"),
    (BrokenPipeError, "connection_reset", True, "the server closed the connection"),
    (httpx.ConnectTimeout, "timeout", False, "connecting took too long"),
    (httpx.TimeoutException, "timeout", True, "the server took too long"),
    (httpx.RemoteProtocolError, "connection_reset", True, "the server closed the connection too early"),
    (httpx.DecodingError, "parse_error", False, "the body's compression is broken"),
    (httpx.ReadError, "connection_reset", True, "the connection broke"),
    (httpx.WriteError, "connection_reset", True, "the connection broke"),
    (httpx.ConnectError, "network", True, "the connection could not be made"),
)


def _world_error(error: httpx.HTTPError, request: httpx.Request) -> WorldError:
    server = f"{request.url.scheme}://{request.url.netloc.decode()}"
    phase = "connect" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else ""
    chain = list(_causes(error))
    for type_, kind, retryable, text in _BY_CAUSE:
        if any(isinstance(each, type_) for each in chain):
            return WorldError(f"{server}: {text}", kind=kind, retryable=retryable, phase=phase)
    return WorldError(f"{server}: {type(error).__name__}", kind="network", retryable=True, phase=phase)
