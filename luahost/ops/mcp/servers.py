"""MCP servers: the connections of a host to those that its configuration names.

A server is started, or connected to, at the first call that needs it, and lives as long as the host. One that ended
is started again at the next call. The protocol is the `mcp` package's (an extra, imported here and when needed); it
runs on trio because it is built on anyio. Knows no grant and no VM.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import trio

from luahost.errors import WorldError
from luahost.ops.mcp.settings import McpServer

if TYPE_CHECKING:
    from mcp import ClientSession

START_S = 30.0
"""How long a server may take to start and to say hello."""

MAX_PAGES = 100


class McpServers:
    """The connections of one host. `start` runs a task in the host's nursery."""

    def __init__(self, servers: Mapping[str, McpServer], start: Callable[..., object]) -> None:
        self.servers = servers
        self._start = start
        self._connections: dict[str, _Connection] = {}

    async def tools(self, name: str) -> list[dict[str, Any]]:
        """[{tool, description, parameters}] of one server. WorldError."""
        found: list[dict[str, Any]] = []
        session = await self._session(name)
        from mcp import types

        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor) if cursor is not None else None
            page = await self._ask(name, session.list_tools(params=params))
            for tool in page.tools:
                schema = dict(tool.input_schema or {})
                found.append({"tool": tool.name, "description": tool.description or "", "parameters": schema})
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    async def call(self, name: str, tool: str, args: dict[str, Any]) -> Any:
        """The tool's result as the package has it. WorldError."""
        session = await self._session(name)
        return await self._ask(name, session.call_tool(tool, args))

    async def _session(self, name: str) -> ClientSession:
        connection = self._connections.get(name)
        if connection is None:
            connection = self._connections[name] = _Connection(name, self.servers[name])
            self._start(self._live, connection)
        await connection.ready.wait()
        if connection.session is None:
            raise connection.error or _unavailable(name, "it ended")
        return connection.session

    async def _live(self, connection: _Connection) -> None:
        try:
            await connection.run()
        finally:
            if self._connections.get(connection.name) is connection:
                del self._connections[connection.name]

    async def _ask(self, name: str, answer: Any) -> Any:
        """Waits for an answer; a server that broke meanwhile is connected to anew by the next call."""
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        limit_s = self.servers[name].timeout_s
        try:
            with trio.fail_after(limit_s):
                return await answer
        except (MCPError, ValueError) as error:  # it said no, or what is no answer
            if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
                raise self._broken(name) from None
            raise WorldError(f"the MCP server {name!r} says: {str(error)[:500]}", kind="mcp_error") from None
        except trio.TooSlowError:
            message = f"the MCP server {name!r} did not answer within {limit_s:g} s"
            raise WorldError(message, kind="timeout", retryable=True, phase="overall") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            raise self._broken(name) from None

    def _broken(self, name: str) -> WorldError:
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.leave.set()
        return _unavailable(name, "the connection broke")


class _Connection:
    """One server, from its start to its end."""

    def __init__(self, name: str, server: McpServer) -> None:
        self.name, self._server = name, server
        self.session: ClientSession | None = None
        self.error: WorldError | None = None
        self.ready, self.leave = trio.Event(), trio.Event()

    async def run(self) -> None:
        # One scope around all of it: the package opens nurseries, which no scope inside may outlive.
        starting = trio.CancelScope(deadline=trio.current_time() + START_S)
        try:
            with starting:
                async with AsyncExitStack() as stack:
                    session = await self._open(stack)
                    await session.initialize()
                    self.session, starting.deadline = session, math.inf
                    self.ready.set()
                    await self.leave.wait()
            if starting.cancelled_caught:
                self.error = _unavailable(self.name, f"it took longer than {START_S:g} s to start")
        except* Exception as group:  # of the program, the network, the package
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            self.error = _unavailable(self.name, str(first)[:300] or type(first).__name__)
        finally:
            self.session = None
            self.ready.set()

    async def _open(self, stack: AsyncExitStack) -> ClientSession:
        try:  # in a thread: the package takes most of a second to import
            await trio.to_thread.run_sync(import_module, "mcp.client.streamable_http")
        except ImportError:
            raise RuntimeError("the package mcp is missing: pip install 'luahost[mcp]'") from None
        from mcp import ClientSession, StdioServerParameters, stdio_client

        server = self._server
        if server.command is not None:
            program = StdioServerParameters(
                command=server.command[0],
                args=server.command[1:],
                env={name: os.environ[name] for name in server.env if name in os.environ},
                cwd=server.cwd,
            )
            nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: ASYNC230, SIM115 - it has no disk
            streams = await stack.enter_async_context(stdio_client(program, errlog=nowhere))
        else:
            from mcp.client.streamable_http import streamable_http_client

            assert server.url is not None
            streams = await stack.enter_async_context(streamable_http_client(server.url))
        return await stack.enter_async_context(ClientSession(*streams))


def _unavailable(name: str, why: str) -> WorldError:
    return WorldError(f"the MCP server {name!r} is not there: {why}", kind="mcp_unavailable", retryable=True)
