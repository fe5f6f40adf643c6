"""Each way to end a VM's work ends each thing it can wait for, within 100 ms, and leaves nothing behind.

The script below waits, and below it stands a grandchild that waits for the same: so every end also goes down a tree.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from servers import FaultServer, Handler, drip_sse, hang, status
from trio_tests import in_trio

from luahost import Config, Grant, Host, Limits, LuahostError, Provider, ScriptError, Source, Stopped
from luahost.program.vm import Vm

pytestmark = pytest.mark.alone

ENDS_S = 0.1
TRIES = 3
"""On a machine that is busy with others, one of so many tries ends in time, and none takes ten times as long."""

WAITS: dict[str, tuple[str, Handler]] = {
    "a request": ("orcs.llm('x', { stream = false })", hang),
    "a stream": ("orcs.llm('x', { on_delta = function() end })", drip_sse()),
    "a stream whose reader waits": ("orcs.llm('x', { on_delta = function() orcs.sleep(60) end })", drip_sse()),
    "a wait before a retry": (
        "orcs.llm('x', { stream = false })",
        status(503, b"{}", {"Retry-After": "30", "Connection": "close"}),
    ),
    "a sleep": ("orcs.sleep(60)", hang),
    "several": ("orcs.all { function() orcs.llm('x') end, function() orcs.sleep(60) end }", hang),
}


def family(wait: str) -> Source:
    """A script that waits, and whose child and grandchild do, by the same text."""
    script = (
        "local input = ... local text, levels = input.text, input.levels\n"
        "return { run = function()\n"
        f"  local function wait() {wait} end\n"
        "  if levels == 0 then return wait() end\n"
        "  local child = orcs.spawn_child { id = 'c', script = text, input = { text = text, levels = levels - 1 }, caps = 'inherit' }\n"
        "  if not child.ok then error(child.error) end\n"
        "  local ticket = child:send_async().ticket\n"
        "  orcs.all { wait, function() child:send() end, function() orcs.child_result(ticket) end }\n"
        "end }"
    )
    return Source(script, "family")


async def by_cancel(vm: Vm, scope: trio.CancelScope) -> None:
    scope.cancel()


async def by_signal(vm: Vm, scope: trio.CancelScope) -> None:
    await vm.signal("Cancel")


async def by_veto(vm: Vm, scope: trio.CancelScope) -> None:
    await vm.signal("Veto", "everybody stop")


async def by_shutdown(vm: Vm, scope: trio.CancelScope) -> None:
    await vm.signal("Shutdown")


async def by_end(vm: Vm, scope: trio.CancelScope) -> None:
    await vm.cancel()


ENDS = [by_cancel, by_signal, by_veto, by_shutdown, by_end]


async def ended_in(wait: str, end: Callable[[Vm, trio.CancelScope], Awaitable[None]]) -> float:
    """Seconds from the end to when nothing waits any more; what is left then is looked at."""
    text, handler = WAITS[wait]
    with FaultServer(handler) as server:
        provider = Provider(name="test", base_url=server.url, model="m")
        grant = Grant.llm(max_calls=50)
        async with Host(Config(providers={"test": provider}, provider="test"), output=lambda *_: None) as host:
            await host._world.client()  # httpx is imported before the clock runs
            source = family(text)
            vm = await host.load(source, input={"text": source.text, "levels": 2}, grants=[grant, Grant.spawn()])
            over = trio.Event()

            async def run(task_status: Any) -> None:
                with trio.CancelScope() as scope:
                    task_status.started(scope)
                    with suppress(LuahostError):
                        await vm.run()
                over.set()

            async with trio.open_nursery() as nursery:
                scope = await nursery.start(run)
                await waiting(vm, 3)
                standings = list(vm.standing().walk())
                assert [each.name for each in standings] == ["family", "family/c", "family/c/c"]
                vms = [vm, vm.children["c"], vm.children["c"].children["c"]]
                began = trio.current_time()
                await end(vm, scope)
                await over.wait()
                with trio.fail_after(2):
                    await until(lambda: at_rest(vms, grant))
                took = trio.current_time() - began
            for each in vms:
                json.loads(each.sessions.dump())
            await vm.close()
            assert (host._pool.worker_pids, host.tree()) == ([], [])
            with trio.fail_after(2):
                await until(lambda: server.open_connections == 0)
    return took


def at_rest(vms: list[Vm], grant: Grant) -> bool:
    """Nothing waits, nothing is reserved, no session has a turn under way."""
    busy = (session.busy for vm in vms for session in vm.sessions._store._sessions.values())
    return not any(vm.waiting_for for vm in vms) and grant.usage()["running"] == 0 and not any(busy)


async def waiting(vm: Vm, levels: int) -> None:
    """Until the whole family stands and its lowest waits."""

    def all_wait() -> bool:
        at: Vm | None = vm
        for _ in range(levels - 1):
            at = None if at is None or not at.waiting_for else at.children.get("c")
        return at is not None and bool(at.waiting_for)

    with trio.fail_after(5):
        await until(all_wait)
    await trio.sleep(0.05)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is looked at tells nobody
        await trio.sleep(0.002)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("wait", WAITS)
@in_trio
async def test_each_end_ends_each_wait_in_a_tenth_of_a_second(wait: str, end: Any) -> None:
    times = []
    for _ in range(TRIES):
        times.append(await ended_in(wait, end))
        if times[-1] <= ENDS_S:
            break
    assert min(times) <= ENDS_S and max(times) <= 10 * ENDS_S, times


@in_trio
async def test_the_deadline_of_a_parent_ends_what_its_children_do() -> None:
    async with Host() as host:
        source = family("orcs.sleep(60)")
        limits = Limits(wall_s=0.4)
        vm = await host.load(
            source, input={"text": source.text, "levels": 2}, grants=[Grant.spawn()], limits=limits
        )
        began = trio.current_time()
        with pytest.raises(LuahostError) as caught:
            await vm.run()
        assert caught.value.kind == "deadline_exceeded"
        with trio.fail_after(1):
            await until(lambda: not any(each.waiting_for for each in vm.standing().walk()))
        assert trio.current_time() - began < 0.4 + 5 * ENDS_S


@in_trio
async def test_a_revoked_kind_ends_what_the_whole_tree_does_with_it_and_nothing_else() -> None:
    with FaultServer(drip_sse()) as server:
        provider = Provider(name="test", base_url=server.url, model="m")
        async with Host(Config(providers={"test": provider}, provider="test")) as host:
            script = (
                "local input = ... return { run = function()\n"
                "  local function ask() local a = orcs.llm('x', { on_delta = function() end }) return { a.error_kind, #a.detail.partial > 0 } end\n"
                "  if input.levels == 0 then return { ask() } end\n"
                "  local c = orcs.spawn_child { id = 'c', script = input.text, input = { text = input.text, levels = input.levels - 1 }, caps = 'inherit' }\n"
                "  local both = orcs.all { ask, function() return c:send() end }\n"
                "  table.insert(both[2].result, 1, both[1]) return both[2].result end }"
            )
            grant = Grant.llm()
            vm = await host.load(
                Source(script, "r"), input={"text": script, "levels": 2}, grants=[grant, Grant.spawn()]
            )
            for revoke in (lambda: vm.revoke("llm"), lambda: grant.revoke()):
                answers: list[Any] = []

                async def run(answers: list[Any] = answers) -> None:
                    answers.extend(await vm.run())

                vm.grant(grant)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run)
                    with trio.fail_after(5):
                        await until(lambda: grant.usage()["running"] == 3 and server.open_connections == 3)
                    await trio.sleep(0.1)  # each has heard something
                    revoke()
                    began = trio.current_time()
                    with trio.fail_after(2):
                        await until(lambda: grant.usage()["running"] == 0)
                    assert trio.current_time() - began < 5 * ENDS_S
                assert answers == [["capability_revoked", True]] * 3
                await vm.children["c"].close()
            with trio.fail_after(2):
                await until(lambda: server.open_connections == 0)


@in_trio
async def test_a_signal_that_ends_work_leaves_a_vm_that_can_be_called_again() -> None:
    async with Host() as host:
        text = "return { run = function(v) if v then return v end orcs.sleep(60) end, on_signal = function(s) orcs.sleep(60) return 'Ignored' end }"
        vm = await host.load(Source(text))
        for kind in ("Cancel", "Veto"):
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    with pytest.raises(LuahostError, match="signal"):
                        await vm.run()

                nursery.start_soon(run)
                await trio.sleep(0.02)
                assert await vm.signal(kind) == "Ignored"  # its handler is not waited for
            assert (await vm.run(7), vm.status) == (7, "Idle")


@in_trio
async def test_a_signal_whose_handler_fails_raises_its_error_alone_and_the_work_ends_all_the_same() -> None:
    async with Host() as host:
        text = "return { run = function() orcs.sleep(60) end, on_signal = function(s) error('no ' .. s.kind) end }"
        vm = await host.load(Source(text, "deaf"))
        for kind in ("Cancel", "Veto"):
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    with pytest.raises(Stopped, match="signal"):
                        await vm.run()

                nursery.start_soon(run)
                await until(lambda: vm.status == "Running")
                with pytest.raises(ScriptError, match=f"no {kind}"):
                    await vm.signal(kind)
