"""The two commands that run nothing: what a script names, and which providers there are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable

import msgspec

from luahost import config
from luahost.errors import Exhausted, HostFault, ScriptError
from luahost.gate.constraints import LUA_NAMES
from luahost.ops.providers import Provider
from luahost.outcomes import shown

CHECK_S = 20.0
CONNECT_S = 1.0
"""How long `providers` waits for a server."""

# ── check ───────────────────────────────────────────────────────────────────────────────────────────────

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
        if name in LUA_NAMES:
            kinds.setdefault(LUA_NAMES[name], []).append(f"orcs.{name}")
    named = "; ".join(f"{kind} ({', '.join(sorted(names))})" for kind, names in sorted(kinds.items()))
    more = f"; line {answer.opaque_line} uses orcs in a way that is not read here" if answer.opaque_line else ""
    return f"{file}: syntax ok; {'names: ' + named if named else 'names no capability'}{more}"


# ── providers ───────────────────────────────────────────────────────────────────────────────────────────


def providers(config_file: str | None, *, ping: bool) -> None:
    """Prints the table."""
    made = config.load(config_file)
    rows = list(made.providers.values())
    reached = _reached(rows) if ping else {}

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("NAME", "WIRE", "URL", "KEY", "REACHABLE"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        name = f"{row.name} (default)" if row.name == made.provider else row.name
        key = "none needed" if not row.key_env else "yes" if row.key() else f"no: {row.key_env} is not set"
        table.add_row(name, row.wire, row.base_url, key, reached.get(row.name, "not asked"))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def _reached(rows: Iterable[Provider]) -> dict[str, str]:
    """name → yes or no, all asked at once by a plain connect; a name that is slow to resolve is a no."""
    answers: dict[str, str] = {}

    def ask(row: Provider) -> None:
        try:
            with socket.create_connection((row.origin.host, row.origin.port), timeout=CONNECT_S):
                answers[row.name] = "yes"
        except OSError as error:
            answers[row.name] = "no: the name is unknown" if isinstance(error, socket.gaierror) else "no"

    threads = [threading.Thread(target=ask, args=(row,), daemon=True) for row in rows]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 1.5 * CONNECT_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return {row.name: answers.get(row.name, f"no: no answer in {CONNECT_S:g} s") for row in rows}
