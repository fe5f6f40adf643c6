"""A small internet: names and addresses, public and private, with the servers of outside.py behind them.

Scripts in the arena may go to any public server; the attacker has some of those. What they must not reach is
loopback, the private networks and the metadata address: a connection there is a trespass and is written down, whatever
the script was told.

All of it is on loopback: trio's own hooks for tests give names their addresses, and turn a connection to a public
address into one to a loopback port. No packet leaves the machine: what nobody here has is unreachable.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from outside import Outside
from trio._socket import _SocketType

ATTACKER, REDIRECTOR, REBINDER = "45.45.45.1", "45.45.45.2", "45.45.45.3"
NAMES = {
    "attacker.test": [[ATTACKER]],
    "redirect.test": [[REDIRECTOR]],
    # Another answer at each look-up, as a rebinding server gives: public, then private, then both.
    "evil-rebind.test": [[REBINDER], ["127.0.0.1"], [REBINDER, "169.254.169.254"]],
    "metadata.google.internal": [["169.254.169.254"]],
    "localhost": [["127.0.0.1", "::1"]],
    "intranet.test": [["10.0.0.1"]],
}


class Internet(trio.abc.HostnameResolver, trio.abc.SocketFactory):
    """`up()` inside trio. The model's port is the only one on loopback that the host has business at."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._trespasses: list[str] = []
        self._looked_up: dict[str, int] = {}

    def trespasses(self) -> list[str]:
        """Those since the last time."""
        told, self._trespasses = self._trespasses + self._outside.trespasses(), []
        return told

    @contextmanager
    def up(self) -> Iterator[Internet]:
        trio.socket.set_custom_hostname_resolver(self)
        trio.socket.set_custom_socket_factory(self)
        try:
            yield self
        finally:
            trio.socket.set_custom_hostname_resolver(None)
            trio.socket.set_custom_socket_factory(None)

    # ── names ───────────────────────────────────────────────────────────────────────────────────────────

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        answers = NAMES.get(name)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name here")
        turn = self._looked_up[name] = self._looked_up.get(name, -1) + 1
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in answers[turn % len(answers)]
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no names for addresses here")

    # ── addresses ───────────────────────────────────────────────────────────────────────────────────────

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> Any:
        return _Diverted(self, socket.socket(family, type, proto))

    def way_to(self, address: str, port: int) -> tuple[str, int]:
        """Where a connection really goes. OSError: nowhere."""
        ip = ipaddress.ip_address(address)
        if ip.is_loopback and port == self._outside.model_port:
            return address, port
        if address in (ATTACKER, REDIRECTOR, REBINDER):
            return "127.0.0.1", self._outside.public_port
        if not ip.is_global:
            self._trespasses.append(f"a connection to {address} port {port}")
        if ip.is_loopback:
            return address, port
        raise OSError(errno.ENETUNREACH, f"nobody here has the address {address}")


class _Diverted(_SocketType):
    """A socket whose connections go where the small internet says."""

    def __init__(self, internet: Internet, sock: socket.socket) -> None:
        super().__init__(sock)
        self._internet = internet

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint()
        host, port, *more = address
        await super().connect((*self._internet.way_to(host, port), *more))
