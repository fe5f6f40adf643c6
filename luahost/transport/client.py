"""The HTTP client of the host: one request, its answer as it comes, and every failure as a kind.

One httpx.AsyncClient for all VMs: no environment proxies, no .netrc, no cookies, no redirects (a redirect
would carry a key to another server). Foreign exceptions end here. Knows no wire and no session.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import trio

from luahost.errors import WorldError
from luahost.gate.hosts import Origin

MAX_BODY_BYTES = 10 * 1024 * 1024
"""Of one answer, after decompression."""

USER_AGENT = "luahost"


class Answer:
    """Status, headers (lower case) and the body in pieces; `pieces` raises WorldError when it breaks off."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = dict(response.headers)

    async def pieces(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for piece in self._response.aiter_bytes():
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise WorldError(f"the answer is larger than {MAX_BODY_BYTES} bytes", kind="too_large")
                yield piece
        except httpx.HTTPError as error:
            raise _world_error(error) from None


class Client:
    """Made once per host, inside its event loop."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        self._http = httpx.AsyncClient(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
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
        timeout_s: float,
    ) -> AsyncIterator[Answer]:
        """Sends one request. `timeout_s` bounds each wait for the server; WorldError for what goes wrong."""
        timeout = httpx.Timeout(timeout_s, connect=min(connect_timeout_s, timeout_s), pool=None)
        request = self._http.build_request(
            method, f"{origin}{path}", headers=headers, content=body, timeout=timeout
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _world_error(error) from None
        try:
            yield Answer(response)
        finally:
            # A cancelled reader must still give its connection back: closing is short and not cancellable.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await response.aclose()

    async def close(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2.0):
            await self._http.aclose()


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


def _world_error(error: httpx.HTTPError) -> WorldError:
    url = error._request.url if error._request is not None else None
    server = f"{url.scheme}://{url.netloc.decode()}" if url is not None else "the server"
    phase = "connect" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else ""
    chain = list(_causes(error))
    for type_, kind, retryable, text in _BY_CAUSE:
        if any(isinstance(each, type_) for each in chain):
            return WorldError(f"{server}: {text}", kind=kind, retryable=retryable, phase=phase)
    return WorldError(f"{server}: {type(error).__name__}", kind="network", retryable=True, phase=phase)
