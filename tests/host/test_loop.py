"""The event loop is not late, whatever a script does: no pass of it is held for longer than MAY_HOLD_S.

The measure is the CPU time of the loop's own thread in one pass (holding.py): it does not depend on what else the
machine does. Who calls here is a worker that was taken over: it says what no script could, and all at once.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from holding import Caller, Passes
from trio_tests import in_trio

from luahost import Grant, Host, Limits, Source
from luahost.bridge.syscalls import SYSCALLS
from luahost.config import Config
from luahost.ops.llm.providers import PROVIDERS, Provider
from luahost.pace import LET_IN, Pace
from luahost.testing import EchoModel

MAY_HOLD_S = 0.025
AT_ONCE = 1000
pack = msgspec.msgpack.encode

MATTER = "---\n" + "a: [1, 2, 3]\nb: {c: d}\n" + "".join(f"key{n}: value\n" for n in range(20)) + "---\nbody"

FLOODS: dict[str, Any] = {
    "event.emit": {"category": "c", "operation": "o", "payload": {"a": 1}},
    "frontmatter.parse": {"text": MATTER},
    "caps": None,
    "module": {"name": "x"},
    "read": {"path": "a.txt"},
    "grep": {"pattern": "h", "path": "."},
    "mv": {"src": "a", "dst": "b"},
    "http": {"method": "GET", "url": "http://127.0.0.1:1/"},
    "mcp_servers": {},
    "llm": {"opts": {}, "prompt": "hi"},
    "request_capability": {"kind": "llm"},
    "spawn_child": {"opts": {}},
}
"""Operation → arguments that many calls of it at once bring."""


@asynccontextmanager
async def a_host(root: Path) -> AsyncIterator[tuple[Host, list[Grant]]]:
    """A host with a model, and grants of everything."""
    (root / "a.txt").write_text("hello\n" * 10)
    with EchoModel() as echo:
        provider = Provider(name="echo", base_url=echo.url, model="echo-1")
        config = Config(providers={**PROVIDERS, "echo": provider}, provider="echo")
        async with Host(config, audit=lambda record: None, output=lambda vm, kind, text: None) as host:
            files = [Grant(kind, roots=[str(root)]) for kind in ("fs.read", "fs.write", "fs.delete")]
            yield (
                host,
                [
                    Grant.llm(providers=["echo"]),
                    Grant.spawn(max_tree=12),
                    *files,
                    Grant("exec"),
                    Grant("http", hosts=["127.0.0.1:1"]),
                    Grant("mcp"),
                ],
            )


async def held_s(host: Host, grants: list[Grant], calls: list[tuple[str, bytes]]) -> float:
    """The CPU that the longest pass took while these calls came at once, and were answered."""
    zygote, caller = host._pool._zygote, Caller(calls)
    host._pool._zygote = caller  # type: ignore[assignment]
    try:
        vm = await host.load(Source("return {}"), grants=grants, limits=Limits(cpu_s=60))
    finally:
        host._pool._zygote = zygote
    gc.collect()  # what the test made is not the host's to look through
    gc.freeze()
    with Passes() as passes:
        await vm.run()
    await vm.close()
    assert len(caller.replies) == len(calls)
    return passes.worst_s


@pytest.mark.parametrize("op", FLOODS)
@in_trio
async def test_many_calls_at_once_do_not_hold_the_loop(op: str, tmp_path: Path) -> None:
    assert op in SYSCALLS
    async with a_host(tmp_path) as (host, grants):
        many = 300 if op == "frontmatter.parse" else AT_ONCE  # one after another, and each is paid for in time
        held = await held_s(host, grants, [(op, pack(FLOODS[op]))] * many)
    assert held < MAY_HOLD_S, f"{op}: a pass of the loop took {held * 1e3:.1f} ms"


@in_trio
async def test_a_thousand_refusals_at_once_do_not_hold_the_loop(tmp_path: Path) -> None:
    async with a_host(tmp_path) as (host, _):
        held = await held_s(host, [], [("llm", pack(FLOODS["llm"]))] * AT_ONCE)
    assert held < MAY_HOLD_S, f"a pass of the loop took {held * 1e3:.1f} ms"


def test_where_no_pace_is_kept_everything_is_done_at_once() -> None:
    pace, done = Pace(), list[int]()
    for number in range(3 * LET_IN):
        pace.soon("somebody", partial(done.append, number))
    assert done == list(range(3 * LET_IN))
