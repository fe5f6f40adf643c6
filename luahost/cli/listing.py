"""`luahost providers`: a table of the servers that are known, and whether each is there and takes its key."""

from __future__ import annotations

import sys
from typing import Any

from luahost import config
from luahost.config import Config
from luahost.gate.grants import Grant

PING_S = 2.0
"""How long a server is waited for."""


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
