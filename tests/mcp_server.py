"""An MCP server for tests, of the official package: over stdin and stdout, or over HTTP at the port it is given."""

from __future__ import annotations

import os
import sys
import time

from mcp.server import MCPServer

server = MCPServer("demo")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("no luck")


@server.tool()
def environment() -> str:
    """The names of its variables."""
    return ",".join(sorted(os.environ))


@server.tool()
def sleep(seconds: float) -> str:
    """Waits."""
    time.sleep(seconds)
    return "awake"


@server.tool()
def leave() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def flood(size: int) -> str:
    """A long text."""
    return "x" * size


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
