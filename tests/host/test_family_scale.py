"""Large families: a thousand children with ten calls each, and roots that are killed at any moment, 200 times.

Small where nothing is said; the long runs (issue 5):

    LUAHOST_CHILDREN=1000 LUAHOST_KILLS=200 python -m pytest tests/host/test_family_scale.py -s
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio_tests
from command import TOP
from trio_tests import in_trio, library_threads

from luahost import Config, Grant, Host, Limits, LuahostError, Provider, Source
from luahost.program.vm import Vm

CHILDREN = int(os.environ.get("LUAHOST_CHILDREN", "40"))
KILLS = int(os.environ.get("LUAHOST_KILLS", "12"))
CALLS, CALL_MS, TOKENS = 10, 50, 65


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """A configuration whose model answers after 50 ms, in a process of its own."""
    monkeypatch.setattr(trio_tests, "LIMIT_S", 600.0)
    server = [sys.executable, str(TOP / "tests" / "bench" / "server.py")]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        provider = Provider(name="bench", base_url=f"http://127.0.0.1:{port}", model=f"json-{CALL_MS}")
        yield Config(providers={"bench": provider}, provider="bench")
        process.stdin.close()


MANAGER = """
local worker = [[return { run = function(calls)
  local answered = 0
  for i = 1, calls do if orcs.llm('x', { stream = false }).ok then answered = answered + 1 end end
  return answered
end }]]
return { run = function(input)
  local ids, inputs = {}, {}
  for i = 1, input.children do ids[i], inputs[i] = 'w' .. i, input.calls end
  orcs.map(ids, function(id)
    local child = orcs.spawn_child { id = id, script = worker, caps = { llm = { max_calls = input.calls } } }
    if not child.ok then error(child.error) end
  end, { concurrency = 20 })
  local answered = 0
  for _, told in ipairs(orcs.send_to_children_batch(ids, inputs)) do
    if not told.ok then error(told.error) end
    answered = answered + told.result
  end
  return answered
end }
"""


@pytest.mark.long
@pytest.mark.parametrize("isolation", ["tree", "shared"])
@in_trio
async def test_a_thousand_children_with_ten_calls_each_have_correct_ledgers(isolation: Any, config: Config) -> None:
    calls, began = CHILDREN * CALLS, time.perf_counter()
    grant = Grant.llm(max_calls=calls, max_tokens=calls * 10_000)
    spawn = Grant.spawn(max_children=CHILDREN, max_tree=CHILDREN)
    limits = Limits(isolation=isolation, memory_bytes=16 << 20)
    async with Host(config) as host:
        vm = await host.load(Source(MANAGER, "m"), grants=[grant, spawn], limits=limits)
        assert await vm.run({"children": CHILDREN, "calls": CALLS}) == calls
        assert (len(vm.children), vm.tree_size) == (CHILDREN, CHILDREN)
        used = [child.grants["llm"].usage() for child in vm.children.values()]
        assert used == [{**used[0], "calls": CALLS, "tokens": CALLS * TOKENS, "running": 0}] * CHILDREN
        whole = grant.usage()
        assert (whole["calls"], whole["tokens"], whole["running"]) == (calls, calls * TOKENS, 0)
        assert set(grant.ledger.reserved.values()) == {0}
        assert spawn.usage()["calls"] == CHILDREN
        await vm.close()
        assert host.tree() == [] and len(host._pool.worker_pids) <= (4 if isolation == "shared" else 0)
    print(f"\n{CHILDREN} children, {calls} calls, isolation {isolation}: {time.perf_counter() - began:.1f} s")


RESTLESS = """
local text, level = ...
if not level then text, level = text.text, text.level end
return { run = function()
  local function work(i)
    if i % 3 == 0 then return orcs.llm('x', { stream = false }).ok end
    if i % 3 == 1 then return orcs.sleep(60) end
    local child = orcs.spawn_child { id = 'c' .. i, script = text, input = { text = text, level = level - 1 }, caps = 'inherit' }
    if child.ok then child:send_async() return child:run() end
  end
  local all = {}
  for i = 1, level * 3 do all[i] = function() return work(i) end end
  return #orcs.all(all)
end }
"""


@pytest.mark.long
@in_trio
async def test_a_root_killed_at_any_moment_leaves_nothing(config: Config) -> None:
    rng, began = random.Random(5), time.perf_counter()
    async with Host(config) as host:
        await host._world.client()
        warm = await host.load(Source("return orcs.llm('x', { stream = false }).ok"), grants=[Grant.llm()])
        assert await warm.run() is True
        await warm.close()
        tasks, threads, most = len(host._nursery.child_tasks), len(library_threads()), 0
        for n in range(KILLS):
            grants = [Grant.llm(max_concurrency=50), Grant.spawn()]
            limits = Limits(isolation=rng.choice(["vm", "tree"]), memory_bytes=16 << 20)
            kill, after_s = rng.choice(sorted(KILL)), rng.random() * 0.3
            async with trio.open_nursery() as nursery:
                started = trio.Event()
                vms: list[Vm] = []

                async def live(
                    grants: Any = grants, limits: Any = limits, vms: Any = vms, started: Any = started
                ) -> None:
                    def opened(vm: Vm) -> None:
                        vms.append(vm)
                        started.set()

                    with suppress(LuahostError):
                        input = {"text": RESTLESS, "level": 3}
                        await (
                            await host.load(
                                Source(RESTLESS), input=input, grants=grants, limits=limits, opened=opened
                            )
                        ).run()

                nursery.start_soon(live)
                await started.wait()
                await trio.sleep(after_s)
                most = max(most, vms[0].tree_size)
                await KILL[kill](vms[0], nursery)
            where = f"kill {n}: {kill} after {after_s:.3f} s, isolation {limits.isolation}"
            with trio.move_on_after(5):
                await nothing_left(host, tasks)
            assert (host.tree(), host._pool.worker_pids) == ([], []), where
            assert len(host._nursery.child_tasks) == tasks, (where, host._nursery.child_tasks)
            for grant in grants:
                assert set(grant.ledger.reserved.values()) == {0} and not grant.ledger.flights, where
                assert grant.usage()["running"] == 0, where
        assert most > 5 and len(library_threads()) <= threads + 1
    print(f"\n{KILLS} roots killed, up to {most} VMs below one: {time.perf_counter() - began:.1f} s")


async def nothing_left(host: Host, tasks: int) -> None:
    while host.tree() or host._pool.worker_pids or len(host._nursery.child_tasks) != tasks:  # noqa: ASYNC110
        await trio.sleep(0.005)


async def _sigkill(vm: Vm, nursery: trio.Nursery) -> None:
    with suppress(ProcessLookupError):
        os.kill(vm._port.worker.pid, signal.SIGKILL)


async def _cancel(vm: Vm, nursery: trio.Nursery) -> None:
    await vm.cancel()


async def _close(vm: Vm, nursery: trio.Nursery) -> None:
    await vm.close()


async def _leave(vm: Vm, nursery: trio.Nursery) -> None:
    """Who waited for it goes away, and then closes it."""
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await vm.close()


KILL = {"sigkill": _sigkill, "cancel": _cancel, "close": _close, "leave": _leave}
