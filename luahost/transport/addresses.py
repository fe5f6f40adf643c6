"""Addresses: a name is resolved once, every address it has is judged, and the connection goes to one of those.

So a name that is public when checked and private when connected cannot be had (DNS rebinding), and a private,
link-local or metadata address is reached only where the operator named it. Happy Eyeballs in small (RFC 8305):
the families take turns at the start, the next address is tried a quarter of a second later, or at once when one
failed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import trio

from luahost.transport.queue import Places
from luahost.transport.tcp import Tcp

STAGGER_S = 0.25

LOOKUPS = 24
"""Names looked up at a time: more than half of the threads that trio has for all that blocks."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What the registries of older Pythons do not have, and a metadata service at a public address.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20"),
    )
)


class AddressRefused(Exception):
    """A host that resolves to an address nobody named."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is at a private address, and nothing names it for that")


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; addresses that hide an IPv4 one are judged by it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        hidden = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            hidden = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(str(hidden))
        if ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def refuse_literal(host: str) -> None:
    """AddressRefused for a host that is itself a private address; names are somebody else's to resolve."""
    with suppress(ValueError):
        if not is_public(host):
            raise AddressRefused(host)


class Lookups:
    """Names being looked up: a thread each, which nothing ends before the system's resolver does.

    So many at a time, and owners take turns: a script that asks for a thousand slow names takes neither the threads
    that files are read in nor the place of another's lookup.
    """

    def __init__(self) -> None:
        self._places = Places(LOOKUPS)

    async def addresses(self, host: str, port: int, owner: Hashable) -> list[tuple[Any, ...]]:
        """What getaddrinfo says; its OSError. Who is cancelled leaves the lookup, and its place, to its end."""
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except OSError:
            pass  # no address but a name
        await self._places.acquire(owner)
        lookup = _Lookup()
        trio.lowlevel.spawn_system_task(self._look_up, host, port, owner, lookup)
        await lookup.done.wait()
        if lookup.error is not None:
            raise lookup.error
        return lookup.found

    async def _look_up(self, host: str, port: int, owner: Hashable, lookup: _Lookup) -> None:
        try:
            lookup.found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # a name of no form raises what it likes, and this task is nobody's
            lookup.error = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            self._places.release(owner)
            lookup.done.set()


class _Lookup:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.found: list[tuple[Any, ...]] = []
        self.error: OSError | None = None


async def resolve(
    host: str, port: int, *, may_be_private: bool, lookups: Lookups, owner: Hashable = None
) -> list[tuple[int, str]]:
    """(family, address) of every address of the host, in the order to try them.

    AddressRefused when one of them is not public and the host was not named for that; OSError (gaierror) when
    there is none.
    """
    found = await lookups.addresses(host, port, owner)
    addresses = list(dict.fromkeys((int(family), str(sockaddr[0])) for family, _, _, _, sockaddr in found))
    if not may_be_private and not all(is_public(address) for _, address in addresses):
        raise AddressRefused(host)
    # The resolver's order, but the first of the other family comes second (RFC 8305, 4).
    for at, (family, _) in enumerate(addresses):
        if family != addresses[0][0]:
            addresses.insert(1, addresses.pop(at))
            break
    return addresses


async def connect(addresses: list[tuple[int, str]], port: int) -> Tcp:
    """A TCP connection to the first of the addresses that answers; the last OSError when none does."""
    if len(addresses) == 1:
        return await _connect_one(*addresses[0], port)
    connected: list[Tcp] = []
    errors: list[OSError] = []
    try:
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
    except BaseException:
        _close(connected)
        raise
    _close(connected[1:])
    if connected:
        return connected[0]
    raise errors[-1] if errors else OSError("no address answered")


def _close(streams: list[Tcp]) -> None:
    for stream in streams:
        stream.socket.close()


async def _connect_one(family: int, address: str, port: int) -> Tcp:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.connect((address, port))
        return Tcp(sock)
    except BaseException:
        sock.close()
        raise
