"""`luahost check SCRIPT`: whether it is Lua, and which capabilities its text names. Nothing of it runs.

Lua's parser reads a stranger's text in a process of its own, caged like a worker (worker/check.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec

from luahost import config
from luahost.cli.api import needed
from luahost.errors import Exhausted, HostFault, ScriptError
from luahost.values import shown

CHECK_S = 20.0

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from luahost.worker.check import main; main(sys.argv[1], int(sys.argv[2]))"
)


class Checked(msgspec.Struct):
    """The answer of worker/check.py, spelt again: the worker's program is never imported here."""

    error: str
    kind: str
    names: list[str]
    opaque_line: int


def check(script: str) -> str:
    """What is to be said of the script, in one line. ScriptError for a syntax error."""
    source = config.read_script(script)
    file = shown(source.name, one_line=True)
    path = [entry for entry in sys.path if entry]
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _PROGRAM, file, str(os.getpid()), *path],
            input=source.lua(),
            env={},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Exhausted(f"{file}: the parser took longer than {CHECK_S:g} s", limit="wall_s") from None
    if child.returncode == -signal.SIGXCPU:
        raise Exhausted(f"{file}: the parser used up its CPU limit", limit="cpu_s")
    if child.returncode:
        raise HostFault(f"{file}: the process that parses it ended with status {child.returncode}")
    answer = msgspec.json.decode(child.stdout, type=Checked)
    if answer.kind in ("cpu", "memory"):
        raise Exhausted(f"{file}: {answer.error}", limit=answer.kind)
    if answer.error:
        raise ScriptError(answer.error, kind="syntax_error")
    kinds: dict[str, list[str]] = {}
    for name in answer.names:
        for kind in needed(name):
            kinds.setdefault(kind, []).append(f"orcs.{name}")
    named = "; ".join(f"{kind} ({', '.join(sorted(names))})" for kind, names in sorted(kinds.items()))
    more = f"; line {answer.opaque_line} uses orcs in a way that is not read here" if answer.opaque_line else ""
    return f"{file}: syntax ok; {'names: ' + named if named else 'names no capability'}{more}"
