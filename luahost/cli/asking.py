"""The two commands that run nothing: what a script names, and which providers there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import msgspec

from luahost import config
from luahost.cli.api import needed
from luahost.config import Config
from luahost.errors import Exhausted, HostFault, ScriptError
from luahost.gate.grants import Grant
from luahost.values import shown

CHECK_S = 20.0
PING_S = 2.0
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
        for kind in needed(name):
            kinds.setdefault(kind, []).append(f"orcs.{name}")
    named = "; ".join(f"{kind} ({', '.join(sorted(names))})" for kind, names in sorted(kinds.items()))
    more = f"; line {answer.opaque_line} uses orcs in a way that is not read here" if answer.opaque_line else ""
    return f"{file}: syntax ok; {'names: ' + named if named else 'names no capability'}{more}"


# ── providers ───────────────────────────────────────────────────────────────────────────────────────────


def providers(config_file: str | None, *, ping: bool) -> None:
    """Prints the table."""
    made = config.load(config_file)
    reached = _reached(made) if ping else {}

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("NAME", "WIRE", "URL", "KEY", "REACHABLE"):
        table.add_column(column, no_wrap=True)
    for row in made.providers.values():
        name = f"{row.name} (default)" if row.name == made.provider else row.name
        key = "none needed" if not row.key_env else "yes" if row.key() else f"no: {row.key_env} is not set"
        table.add_row(name, row.wire, row.base_url, key, reached.get(row.name, "not asked"))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def _reached(made: Config) -> dict[str, str]:
    """name → what came of a ping, all at once: the one that scripts have, under a grant of the operator's own."""
    import random

    import trio

    from luahost.gate.permits import Permit
    from luahost.gate.policy import decide
    from luahost.ops.llm import plan as llm_plan
    from luahost.ops.llm.options import PingArgs, PingOptions
    from luahost.ops.llm.ping import ping
    from luahost.ops.world import Share, World

    answers: dict[str, str] = {}

    async def ask(share: Share, name: str) -> None:
        args = PingArgs(PingOptions(provider=name, timeout=PING_S))
        planned = llm_plan.plan_ping(share, args)
        assert isinstance(planned, llm_plan.Plan), "a configured provider can be asked"
        permit = decide(Grant.llm(), planned.action, share.world.monotonic_s())
        assert isinstance(permit, Permit), "this grant allows every provider"
        answers[name] = _told(await ping(permit, planned, args, share, None), planned.missing_key)

    async def ask_all() -> None:
        world = World(made.providers, made.provider, None, random.Random(), made.transport)  # noqa: S311 - jitter
        try:
            async with trio.open_nursery() as nursery:
                for name in made.providers:
                    nursery.start_soon(ask, Share(world, {}, None), name)
        finally:
            await world.close()

    trio.run(ask_all)
    return answers


def _told(answer: dict[str, Any], missing_key: bool) -> str:
    if not answer["reachable"]:
        return f"no: {answer['error_kind']}"
    if not answer["authorized"] and answer["status"] in (401, 403):
        return "yes; it wants a key" if missing_key else "yes; it does not accept the key"
    return f"yes, {answer['latency_ms']:.0f} ms" if answer["ok"] else f"yes; it answers {answer['status']}"
