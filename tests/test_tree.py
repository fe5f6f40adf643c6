"""The VM tree as the command shows it: live on a terminal, once elsewhere, and where each VM stood at Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import COMMAND, descendants, environment, luahost, start, wait_gone

from luahost.cli import tree
from luahost.standing import Held, Standing, Usage

FAMILY = """
return { run = function()
  local wait = 'orcs.log("info", "up") return { run = function() orcs.sleep(60) end }'
  local a = orcs.spawn_child { id = 'a', script = wait }
  local b = orcs.spawn_child { id = 'b', script = wait }
  orcs.spawn_child { id = 'idle', script = 'return 1' }
  orcs.spawn_child { id = 'done', script = 'return 1' }:run()
  orcs.all { function() a:send() end, function() b:send() end, function() orcs.sleep(60) end }
end }
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "family.lua").write_text(FAMILY)
    return tmp_path


def test_an_interrupted_command_says_where_each_vm_stood_and_leaves_nothing(here: Path) -> None:
    process = start("run", "family.lua", "--grant", "spawn", cwd=here)
    assert process.stderr is not None and process.stdout is not None
    for _ in range(2):
        assert b"up" in process.stderr.readline()
    time.sleep(0.3)
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    lines = process.stderr.read().decode().splitlines()
    process.stderr.close()
    process.stdout.close()
    assert lines[0].startswith("luahost: interrupted; family was waiting for ")
    assert sorted(re.split(", ", lines[0].partition("waiting for ")[2])) == ["2 × child.send", "clock.sleep"]
    assert lines[1:] == [
        "family/a was waiting for clock.sleep",
        "family/b was waiting for clock.sleep",
        "family/idle was idle",
    ]
    assert len(below) >= 5 and wait_gone(below) == []


def test_a_time_limit_says_the_same(here: Path) -> None:
    ran = luahost("run", "family.lua", "--grant", "spawn", "--timeout", "1.5", cwd=here)
    assert ran.code == 4
    assert "family/b was waiting for clock.sleep\n" in ran.err
    assert re.search(r"^luahost: the time limit of 1\.5 s is used up; family was waiting", ran.err, re.MULTILINE)


def test_where_stderr_is_no_terminal_the_tree_is_drawn_once(here: Path) -> None:
    (here / "short.lua").write_text(
        "return function() orcs.output('said') local c = orcs.spawn_child { id = 'c', script = 'return function() return orcs.llm(\"x\").ok end' }\n"
        "orcs.spawn_child { id = 'bad', script = 'return function() error(\"no \\27[31mway\") end' }:run() return c:run().result end"
    )
    ran = luahost("run", "short.lua", "--grant", "spawn:max_calls=5", "--tree", cwd=here)
    assert (ran.code, ran.out) == (0, "said\nfalse\n")
    lines = ran.err.splitlines()
    assert lines[0] == "short  Idle   spawn: 2 calls used; 3 calls left"
    assert lines[1].startswith("├── short/bad  Error   bad:1: no \\x1b[31mway")
    assert lines[2] == "└── short/c  Completed   1 denied"
    assert len(lines) == 3


def test_on_a_terminal_the_tree_is_live_and_output_is_not_lost_in_it(here: Path) -> None:
    (here / "live.lua").write_text(
        "return function() local c = orcs.spawn_child { id = 'c', script = 'return function() orcs.sleep(0.6) return 1 end' }\n"
        "orcs.all { function() c:run() end, function() for i = 1, 3 do orcs.sleep(0.2) orcs.output('line ' .. i) end end } end"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "run", "live.lua", "--grant", "spawn", "--tree"],
        cwd=here,
        env=environment(TERM="xterm", COLUMNS="100"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert process.wait(10) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert text.count("live  Running") >= 2 and "live/c  Running   waits for clock.sleep" in text
    assert [text.count(f"line {i}\r\n") for i in (1, 2, 3)] == [1, 1, 1]
    last = text.rsplit("live  Idle", 1)[1]
    assert "live/c  Completed" in last and "Running" not in last


def test_a_line_tells_who_what_how_much_and_what_was_refused() -> None:
    held = Held("llm:max_calls=5", False, {"calls": 2, "tokens": 310, "running": 1}, {"calls": 3, "concurrency": 1})
    gone = Held("spawn", True, {"calls": 1, "running": 0}, {})
    stands = Standing(
        "w",
        "m/w",
        "Running",
        ["llm", "clock.sleep", "llm"],
        Usage(denied=2),
        {"llm": held, "spawn": gone},
        False,
        "",
        [],
        3,
    )
    assert tree.line(stands) == (
        "m/w  Running   waits for 2 × llm, clock.sleep   llm: 2 calls, 310 tokens used; 3 calls left   "
        "spawn: 1 calls used; revoked   2 denied"
    )
    assert tree.stood(stands) == ["m/w was waiting for 2 × llm, clock.sleep"]
