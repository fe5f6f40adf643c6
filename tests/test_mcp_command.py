"""luahost mcp: a script's intents are the tools of an MCP server, spoken to by the official client and by luahost itself."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from command import COMMAND, descendants, environment, luahost, wait_gone

pytest.importorskip("mcp", reason="the extra mcp is not installed")
from mcp import ClientSession, StdioServerParameters, stdio_client

SERVER = """
print("said at load")
orcs.register_intent { name = "double", description = "Twice as much", run = function(a) print("asked") return a.n * 2 end,
  params = { n = { type = "integer", required = true, description = "how much" } } }
orcs.register_intent { name = "peek", run = function() return orcs.read("notes.txt") end }
orcs.register_intent { name = "http_peek", run = function() return orcs.http("GET", "http://127.0.0.1:9/") end }
orcs.register_intent { name = "loop", run = function() while true do end end }
orcs.register_intent { name = "wait", run = function() orcs.sleep(60) end }
orcs.register_intent { name = "cycle", run = function() local t = {} t.t = t return t end }
orcs.register_intent { name = "break", run = function() error("broke", 0) end }
local busy = false
orcs.register_intent { name = "alone", run = function()
  if busy then error("two at a time", 0) end
  busy = true orcs.sleep(0.05) busy = false return "alone"
end }
orcs.register_intent { name = "learn", run = function() return orcs.register_intent { name = "learnt", run = print } end }
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "server.lua").write_text(SERVER)
    (tmp_path / "notes.txt").write_text("a note")
    return tmp_path


@asynccontextmanager
async def client(here: Path, *words: str) -> AsyncIterator[ClientSession]:
    program = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], "mcp", "server.lua", *words], env=environment(), cwd=here
    )
    with (here / "stderr").open("w") as log:
        async with stdio_client(program, errlog=log) as streams, ClientSession(*streams) as session:
            await session.initialize()
            yield session


async def call(session: ClientSession, tool: str, **args: Any) -> tuple[str, bool]:
    answer: Any = await session.call_tool(tool, args)
    return answer.content[0].text, answer.is_error


def test_the_official_client_lists_and_calls_what_the_script_registered(here: Path) -> None:
    async def main() -> None:
        async with client(here, "--grant", f"fs.read:roots={here}", "--cpu", "0.3") as session:
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert len(tools) == 9 and "read" not in tools, "orcs' own are the script's, and nobody's else"
            assert tools["double"].description == "Twice as much"
            assert tools["double"].input_schema["required"] == ["n"]
            assert await call(session, "double", n=21) == ("42", False)
            assert await call(session, "double", n="x") == (
                'arguments.n: integer expected, got string "x"',
                True,
            )
            assert json.loads((await call(session, "peek"))[0])["content"] == "a note"
            text, failed = await call(session, "http_peek")
            assert failed and "http" in text, "what was not granted is refused"
            assert await call(session, "break") == ("broke", True)
            assert await call(session, "read", path="notes.txt") == ("there is no tool of this name", True)
            assert (await call(session, "cycle"))[0].startswith("table")
            answers: list[Any] = []

            async def one() -> None:
                answers.append(await call(session, "alone"))

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(one)
            assert answers == [("alone", False)] * 4
            await call(session, "learn")
            assert "learnt" in {tool.name for tool in (await session.list_tools()).tools}
            with trio.move_on_after(0.3):
                await call(session, "wait")
            assert await call(session, "double", n=1) == ("2", False), "a call that was given up is over"
            text, failed = await call(session, "loop")
            assert failed and "CPU limit" in text
            assert "CPU limit" in (await call(session, "double", n=1))[0], "and what was used up stays so"

    trio.run(main)
    said = (here / "stderr").read_text()
    assert said.startswith("said at load\n") and "asked\n" in said


def test_a_script_uses_the_command_as_its_mcp_server(here: Path) -> None:
    command = [*COMMAND, "mcp", "server.lua"]
    (here / "luahost.toml").write_text(
        f"[mcp.own]\ncommand = {json.dumps(command)}\ncwd = {json.dumps(str(here))}\nenv = ['PYTHONPATH']\n"
    )
    (here / "agent.lua").write_text(
        """local r = orcs.mcp_call("own", "double", { n = 4 })
        return { r.content, #orcs.mcp_tools("own").tools, orcs.mcp_call("own", "peek").error_kind }"""
    )
    ran = luahost("run", "agent.lua", "--json", "--config", "luahost.toml", "--grant", "mcp", cwd=here)
    assert ran.code == 0, ran
    assert json.loads(ran.out) == ["8", 9, "tool_error"]


def started(here: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "mcp", "server.lua"],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_it_ends_with_stdin_and_with_a_signal_and_leaves_nothing(here: Path) -> None:
    for number in (None, signal.SIGINT, signal.SIGTERM):
        process = started(here)
        assert process.stdin and process.stdout and process.stderr
        assert process.stderr.readline() == b"said at load\n"
        below = descendants(process.pid)
        if number is None:
            process.stdin.write(b"this is no message\n")
            process.stdin.close()
        else:
            process.send_signal(number)
        assert process.wait(30) == (0 if number is None else 128 + number)
        out = process.stdout.read()
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines()), "nothing but the protocol"
        assert below and wait_gone(below) == []
        process.stdin.close(), process.stdout.close(), process.stderr.close()


def test_a_client_that_reads_no_more_is_the_quiet_end(here: Path) -> None:
    with started(here) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(20) == 141
        assert b"luahost:" not in process.stderr.read()


def test_what_cannot_be_served_is_said_in_one_line(here: Path) -> None:
    (here / "none.lua").write_text("return 1")
    (here / "bad.lua").write_text("return (")
    none = luahost("mcp", "none.lua", cwd=here)
    assert (none.code, none.out) == (1, "") and none.err.startswith("luahost: none.lua registers no intent: ")
    bad = luahost("mcp", "bad.lua", cwd=here)
    assert (bad.code, bad.out, bad.err.count("\n")) == (1, "", 1)
    assert luahost("mcp", "nowhere.lua", cwd=here).code == 2
