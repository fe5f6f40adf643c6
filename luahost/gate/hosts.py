"""Origins: which server a URL means, and whether a list of hosts names it.

A key, and a permission, belong to an origin: scheme, host and port together. Spellings that mean one server to
one program and another to the next (user info, odd numbers, trailing dots, back-slashes) are refused instead
of understood. Pure: names are not resolved here.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from luahost.errors import ConfigError

PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without space
_NETLOC = re.compile(r"(\[[0-9A-Za-z:.%]*\]|[^\[\]:]*)(:[0-9]*)?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_LOOKS_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host (lower case, no brackets) and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{self.scheme}://{host}" if self.port == PORTS[self.scheme] else f"{self.scheme}://{host}:{self.port}"
        )

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address, or localhost: what it means cannot be changed by a name server."""
        return self.host == "localhost" or _is_address(self.host)


@lru_cache(256)  # asked with each call, of the same few hosts
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


MAX_URL_CHARS = 32 * 1024


def parse_base_url(url: str) -> tuple[Origin, str]:
    """The origin and the path prefix ("" or "/…" without a trailing slash); ConfigError if it is odd."""
    if len(url) > MAX_URL_CHARS:
        raise ConfigError(f"base_url: at most {MAX_URL_CHARS} characters expected, got {len(url)}")
    if not _PLAIN.fullmatch(url) or "\\" in url:
        raise ConfigError(f"base_url: a URL like https://host:port expected, got {url[:100]!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"base_url: {error} in {url[:100]!r}") from None
    if parts.scheme not in PORTS:
        raise ConfigError(f"base_url: http:// or https:// expected, got {url[:100]!r}")
    if "@" in parts.netloc:
        raise ConfigError("base_url: a user name or password does not belong in a URL; use key_env")
    if not _NETLOC.fullmatch(parts.netloc):
        raise ConfigError(f"base_url: a host, or host:port, expected after {parts.scheme}://, got {url[:100]!r}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ConfigError(f"base_url: no query and no fragment expected, got {url[:100]!r}")
    if "/../" in parts.path + "/" or "/./" in parts.path + "/":
        raise ConfigError(f"base_url: a path without dots expected, got {url[:100]!r}")
    host = parse_host(parts.hostname or "")
    if port == 0:
        raise ConfigError(f"base_url: a port from 1 to 65535 expected, got {url[:100]!r}")
    return Origin(parts.scheme, host, port or PORTS[parts.scheme]), parts.path.rstrip("/")


_ENCODED_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|;|%3b|$)", re.IGNORECASE)  # some servers cut at a ;


def parse_url(url: str) -> tuple[Origin, str]:
    """The origin, and what is asked of it, path and query; ConfigError if it is odd. No fragment is kept."""
    if len(url) > MAX_URL_CHARS:
        raise ConfigError(f"url: at most {MAX_URL_CHARS} characters expected, got {len(url)}")
    base, mark, query = url.partition("#")[0].partition("?")
    try:
        origin, _ = parse_base_url(base)
    except ConfigError as error:
        raise ConfigError(error.message.replace("base_url: ", "url: ").replace("; use key_env", "")) from None
    if not _PLAIN.fullmatch(query or "-"):
        raise ConfigError("url: a query of printable characters without spaces expected")
    path = urlsplit(base).path
    if _ENCODED_DOTS.search(path):
        raise ConfigError(f"url: a path without dots expected, got {url[:100]!r}")
    return origin, f"{path or '/'}{mark}{query}"


def parse_host(host: str) -> str:
    """A host name or address in its one spelling; ConfigError for any other."""
    lowered = host.lower()
    if ":" in lowered:
        try:
            address = ipaddress.IPv6Address(lowered)
        except ValueError:
            raise ConfigError(f"host: an IPv6 address expected, got {host[:100]!r}") from None
        if address.ipv4_mapped or address.scope_id:
            raise ConfigError(f"host: a plain IPv6 address expected, got {host[:100]!r}")
        return str(address)
    if _LOOKS_NUMERIC.fullmatch(lowered):
        try:
            return str(ipaddress.IPv4Address(lowered))
        except ValueError:
            raise ConfigError(f"host: an IPv4 address like 127.0.0.1 expected, got {host[:100]!r}") from None
    if len(lowered) > 253 or not _NAME.fullmatch(lowered):
        raise ConfigError(f"host: a host name like api.example.com expected, got {host[:100]!r}")
    return lowered


def origins(entry: str) -> tuple[Origin, ...]:
    """What one entry of a grant's hosts names: `host` or `host:port` over https, or a whole origin.

    On loopback `host:port` names plain http too; elsewhere http must be spelt out.
    """
    if "://" in entry:
        origin, path = parse_base_url(entry)
        if path:
            raise ConfigError(f"hosts: a host without a path expected, got {entry!r}")
        return (origin,)
    https, path = parse_base_url(f"https://{entry}")
    if path:
        raise ConfigError(f"hosts: a host without a path expected, got {entry!r}")
    if https.is_loopback:
        return (https, parse_base_url(f"http://{entry}")[0])
    return (https,)


def entry(origin: Origin) -> str:
    """How a grant's hosts name this origin."""
    text = str(origin)
    return text.partition("://")[2] if origin.is_loopback else text.removeprefix("https://")


def names(entries: tuple[str, ...], origin: Origin) -> bool:
    """Whether one of the entries names this origin."""
    return any(origin in origins(entry) for entry in entries)
