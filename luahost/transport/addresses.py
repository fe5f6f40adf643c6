"""Addresses: a name is resolved once, every address it has is judged, and the connection goes to one of those.

So a name that is public when checked and private when connected cannot be had (DNS rebinding), and a private,
link-local or metadata address is reached only where the operator named it. Happy Eyeballs in small (RFC 8305):
addresses are tried in order, the next one a quarter of a second later.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import trio

STAGGER_S = 0.25


class AddressRefused(Exception):
    """A host that resolves to an address nobody named."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; addresses that hide an IPv4 one are judged by it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        hidden = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if hidden is not None:
            return is_public(str(hidden))
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified


async def resolve(host: str, port: int, *, may_be_private: bool) -> list[tuple[int, str]]:
    """(family, address) of every address of the host, in the resolver's order.

    AddressRefused when one of them is not public and the host was not named for that; OSError (gaierror) when
    there is none.
    """
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((family, sockaddr[0]) for family, _, _, _, sockaddr in found))
    if not may_be_private:
        for _, address in addresses:
            if not is_public(str(address)):
                raise AddressRefused(f"{host} is at a private address, and nothing names it for that")
    return [(int(family), str(address)) for family, address in addresses]


async def connect(addresses: list[tuple[int, str]], port: int) -> trio.SocketStream:
    """A TCP connection to the first of the addresses that answers; the last OSError when none does."""
    if len(addresses) == 1:
        return await _connect_one(*addresses[0], port)
    connected: list[trio.SocketStream] = []
    errors: list[OSError] = []
    async with trio.open_nursery() as nursery:

        async def attempt(address: tuple[int, str], failed: trio.Event) -> None:
            try:
                connected.append(await _connect_one(*address, port))
                nursery.cancel_scope.cancel()
            except OSError as error:
                errors.append(error)
                failed.set()

        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed)
            with trio.move_on_after(STAGGER_S):
                await failed.wait()
    for late in connected[1:]:
        await trio.aclose_forcefully(late)
    if connected:
        return connected[0]
    raise errors[-1] if errors else OSError("no address answered")


async def _connect_one(family: int, address: str, port: int) -> trio.SocketStream:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.connect((address, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise
