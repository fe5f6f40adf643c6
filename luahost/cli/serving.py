"""One `luahost mcp`: the intents of a script as the tools of an MCP server, over stdin and stdout.

The script is loaded once, under the command's grants; its calls run one after another, as runs do, and a client
that cancels one ends it. stdout carries the protocol alone: what the script says goes to stderr. A script that has
used up a limit answers every later call with that. The protocol is the `mcp` package's, as in ops/mcp/servers.py;
only what reads and writes the descriptors is here, so that a signal ends it while nothing comes in.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luahost
from luahost import config
from luahost.cli import given
from luahost.cli.terminal import Ends, Printer, say, signal_word
from luahost.errors import ConfigError, LuahostError, ScriptError, WorldError
from luahost.workers.zygote import Zygote

if TYPE_CHECKING:
    from luahost.program.vm import Vm

MAX_LINE_BYTES = 64 << 20
"""One message of a client."""


class Serve:
    """One `luahost mcp`: everything is read and checked first, then served until stdin ends."""

    def __init__(self, options: dict[str, Any], ends: Ends) -> None:
        self._ends = ends
        self._config = given.configuration({**options, "ask": False})  # no terminal: nobody to ask
        self._limits = given.limits(self._config.limits, options)
        self._source = config.read_script(options["script"])
        self._audit = None if options["audit"] is None else given.appendable(Path(options["audit"]))
        self._printer = Printer(ends, json=True)

    def go(self) -> int:
        """Serves. 0 when the client went away, 141 when it reads no more, 128 + N when signal N came; or the error
        that has a code."""
        zygote, unread = Zygote(), False
        try:
            try:
                import_module("mcp.server.stdio")
            except ImportError:
                raise ConfigError("mcp: the package mcp is missing: pip install 'luahost[mcp]'") from None
            import trio

            self._ends.cancel = lambda: None  # from here on a signal is noted, and acted on where it can be
            trio.run(self._drive, zygote)
        except* BrokenPipeError:
            unread = True
        finally:
            zygote.close()
        if unread:
            return 128 + signal.SIGPIPE
        if self._ends.number:
            say(f"luahost: {signal_word(self._ends.number)}")
            return 128 + self._ends.number
        return 0

    async def _drive(self, zygote: Zygote) -> None:
        import trio

        from luahost.host import Host

        gc.freeze()  # what was imported stays: nobody looks for garbage there
        gc.enable()
        host = Host(self._config, audit=self._audit, output=self._printer.put).prepare(zygote)
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop_soon() -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(scope.cancel)

            self._ends.cancel = stop_soon
            if self._ends.number:
                scope.cancel()
            async with host:
                vm = await host.load(self._source, grants=self._config.grants, limits=self._limits)
                if not await vm.intents():
                    wanted = "orcs.register_intent{name, params, run} at its top level or in init()"
                    raise ScriptError(
                        f"{self._source.name} registers no intent: {wanted} expected", kind="no_intents"
                    )
                await _serve(vm)


async def _serve(vm: Vm) -> None:
    from mcp import types
    from mcp.server import Server
    from mcp.server.stdio import stdio_server

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=intent.name,
                    description=intent.description,
                    input_schema={**intent.parameters, "type": "object"},
                )
                for intent in await vm.intents()
            ]
        )

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            answer = await vm.dispatch(params.name, params.arguments or {})
            text, failed = answer.content, answer.is_error
        except LuahostError as error:
            text, failed = f"{error.kind}: {error.message}", True
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)

    server: Server[Any] = Server(
        vm.name, version=luahost.__version__, on_list_tools=list_tools, on_call_tool=call_tool
    )
    lines: Any = _Lines()  # the package asks for files of anyio, and uses no more than these have
    writer: Any = _Writer()
    async with stdio_server(lines, writer) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class _Lines:
    """The lines of stdin. A cancelled read is given up: a file of the package's would wait for its end."""

    async def __aiter__(self) -> AsyncIterator[str]:
        import trio

        rest = b""
        while data := await trio.to_thread.run_sync(os.read, 0, 1 << 16, abandon_on_cancel=True):
            *lines, last = data.split(b"\n")
            for line in lines:
                yield (rest + line).decode(errors="replace")
                rest = b""
            rest += last
            if len(rest) > MAX_LINE_BYTES:
                raise WorldError(f"a message of at most {MAX_LINE_BYTES} bytes expected on stdin", kind="too_large")


class _Writer:
    """stdout, for whole messages."""

    async def write(self, text: str) -> None:
        import trio

        left = memoryview(text.encode("utf-8", "backslashreplace"))
        while left:
            left = left[await trio.to_thread.run_sync(os.write, 1, left, abandon_on_cancel=True) :]

    async def flush(self) -> None:
        """Nothing is held back."""
