"""A proxy of the operator's, spoken to in HTTP/1: absolute targets for http, CONNECT for https.

Only the configuration names one; the environment's proxy variables are not read. Loopback is never proxied. A
proxy resolves names itself, so of the address check only what needs no resolver is left
(`addresses.refuse_literal`).
"""

from __future__ import annotations

import ipaddress
import re

import httpx

from luahost.transport.parser import HEAD_BYTES
from luahost.transport.tcp import Tcp

_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})")


class ProxyRefused(OSError):
    """The proxy would not, or is none."""


def is_proxied(host: str) -> bool:
    """Whether a host is reached through the proxy, if there is one."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def port_of(proxy: httpx.URL) -> int:
    return proxy.port or 80


async def tunnel(tcp: Tcp, host: str, port: int) -> None:
    """Asks the proxy at the other end to connect on; ProxyRefused when it does not."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await tcp.send_all(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = await tcp.receive_some(1024)
        answer += data
        if not data or len(answer) > HEAD_BYTES:
            raise ProxyRefused("the proxy gave no answer")
    status = _STATUS.match(answer)
    if status is None:
        raise ProxyRefused("the proxy does not speak HTTP")
    if not status[1].startswith(b"2"):
        raise ProxyRefused(f"the proxy refused with status {status[1].decode()}")
