"""What a configuration says of an MCP server. Imports neither the package nor an event loop."""

from __future__ import annotations

import msgspec

from luahost.errors import ConfigError


class McpServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server of the table [mcp.NAME]: a program that is spoken to over its stdin and stdout, or a URL.

    command    the program and its arguments
    env        the host's variables it sees, besides PATH, HOME and the like
    cwd        where it is started
    url        of a server that speaks streamable HTTP
    timeout_s  for one call
    """

    command: list[str] | None = None
    env: list[str] = []
    cwd: str | None = None
    url: str | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ConfigError("command = [program, arguments …] or url = a URL expected, and not both")
        if self.command is not None and not self.command:
            raise ConfigError("command: a list that begins with a program expected, got an empty one")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"url: http:// or https:// expected, got {self.url[:100]!r}")
        if not 0 < self.timeout_s < 86_400:
            raise ConfigError(f"timeout_s: seconds above 0 expected, got {self.timeout_s!r}")
