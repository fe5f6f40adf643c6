"""What an operator says about the network: the [transport] table of a configuration file. Imports no client."""

from __future__ import annotations

import math
import re

import msgspec

from luahost.errors import ConfigError

_PROXY = re.compile(r"http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the host reaches the network.

    proxy            http://host:port of a proxy for everything but loopback; None: none (the environment's
                     proxy variables are not read)
    ca_file          a PEM file of certificate authorities to trust, instead of the system's
    max_connections  sockets in use at a time; None: what the process's descriptors allow
    """

    proxy: str | None = None
    ca_file: str | None = None
    max_connections: int | None = None

    def __post_init__(self) -> None:
        if self.proxy is not None and not _PROXY.fullmatch(self.proxy):
            shown = self.proxy.rpartition("@")[2]  # what is before may be a password
            raise ConfigError(f"transport.proxy: http://host:port expected, got {shown!r}")
        if self.max_connections is not None and self.max_connections < 1:
            raise ConfigError(f"transport.max_connections: 1 or more expected, got {self.max_connections}")


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """The four time limits of a call, in seconds; each failure says which of them fired.

    connect      until the connection stands, TLS included
    first_token  from there to the first content; comments and keep-alives do not count
    idle         between two pieces afterwards; anything the server sends counts
    overall      the whole call: queue, connections, waits between attempts, body
    """

    connect_s: float = 5.0
    first_token_s: float = 300.0
    idle_s: float = 300.0
    overall_s: float = math.inf

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigError(f"deadlines.{name}: seconds above 0 expected, got {value!r}")
