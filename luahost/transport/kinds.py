"""What went wrong on the way, as a kind that scripts see: by the exception's type, never by its text."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from luahost.errors import WorldError
from luahost.transport.addresses import AddressRefused
from luahost.transport.decoding import Undecodable
from luahost.transport.parser import HeadTooLarge, NotHttp
from luahost.transport.proxy import ProxyRefused

# (type in the chain of causes, kind, retryable, what people read). The first row that is met counts.
_BY_CAUSE: tuple[tuple[type[BaseException], str, bool, str], ...] = (
    (AddressRefused, "host_not_allowed", False, "the host is at a private address, and nothing names it for that"),
    (socket.gaierror, "dns", False, "the host name could not be resolved"),
    (ProxyRefused, "network", True, ""),
    (ssl.SSLCertVerificationError, "tls", False, ""),
    (ssl.SSLEOFError, "connection_reset", True, "the server closed the connection inside TLS"),
    (ssl.SSLError, "tls", False, "the TLS connection could not be made"),
    (ConnectionRefusedError, "connection_refused", False, "nothing listens there"),
    (ConnectionResetError, "connection_reset", True, "the server reset the connection"),
    (BrokenPipeError, "connection_reset", True, "the server closed the connection"),
    (httpx.ConnectTimeout, "timeout", True, "connecting took too long"),
    (httpx.TimeoutException, "timeout", True, "the server took too long"),
    (TimeoutError, "timeout", True, "the server's system does not answer"),
    (HeadTooLarge, "too_large", False, "the answer's headers are too large"),
    (NotHttp, "parse_error", True, "the answer is not HTTP"),
    (httpx.RemoteProtocolError, "connection_reset", True, "the server closed the connection too early"),
    (httpx.LocalProtocolError, "invalid_request", False, "a line end inside the request's head (in the key?)"),
    (Undecodable, "parse_error", True, "the body's compression is broken"),
    (httpx.ReadError, "connection_reset", True, "the connection broke"),
    (httpx.WriteError, "connection_reset", True, "the connection broke"),
    (httpx.ConnectError, "network", True, "the connection could not be made"),
)


def world_error(error: Exception, request: httpx.Request) -> WorldError:
    server = f"{request.url.scheme}://{request.url.netloc.decode()}"
    phase = "connect" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else ""
    chain = list(_causes(error))
    for type_, kind, retryable, text in _BY_CAUSE:
        for each in chain:
            if isinstance(each, type_):
                message = f"{server}: {text or _own_words(each)}"
                return WorldError(message, kind=kind, retryable=retryable, phase=phase)
    return WorldError(f"{server}: {type(error).__name__}", kind="network", retryable=True, phase=phase)


def _own_words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {error.verify_message}"
    return str(error)


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
