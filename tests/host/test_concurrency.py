"""What strands that are ended leave behind in the host: no socket, no reservation, no turn. Against real servers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from servers import FaultServer, drip_sse, hang, sequence, status
from test_llm import config_for
from trio_tests import in_trio

import luahost.transport.attempts  # noqa: F401 - so that no test waits for it
from luahost import Grant, Host, Limits, Source
from luahost.errors import Exhausted, Stopped
from luahost.program.vm import Vm
from luahost.testing import EchoModel, LoopbackServer

ENDS = {
    "a race that another wins": "orcs.race{ask, function() wait() end}",
    "a timeout": "orcs.timeout(0.3, ask)",
    "an error beside it": "pcall(orcs.all, {ask, function() wait() error('x') end})",
    "an error of the nursery's body": "pcall(orcs.nursery, function(n) n:spawn(ask) wait() error('x') end)",
    "an error far above": "pcall(orcs.all, {function() orcs.map({1}, function() orcs.timeout(9, ask) end) end, function() wait() error('x') end})",
}


@asynccontextmanager
async def loaded(
    server: LoopbackServer, script: str, grant: Grant | None = None, limits: Limits | None = None
) -> AsyncIterator[Vm]:
    """A VM with this script and the grant llm, whose provider is this server."""
    async with Host(config_for(server.url)) as host:
        yield await host.load(Source(script), grants=[grant or Grant.llm()], limits=limits)


async def are_closed_at_once(server: FaultServer) -> bool:
    return all([await trio.to_thread.run_sync(conn.wait_peer_closed, 1.0) < 0.1 for conn in server.conns])


@pytest.mark.alone
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("stream", [False, True], ids=["before the first byte", "in the stream"])
def test_the_call_of_what_is_ended_ends_at_once(end: str, stream: bool) -> None:
    @in_trio
    async def test() -> None:
        with FaultServer(drip_sse(None, 0.01) if stream else hang) as server:
            async with loaded(
                server,
                f"heard = 0 local function ask() orcs.llm('x', {{on_delta = {'function() heard = heard + 1 end' if stream else 'nil'}}}) end "
                f"local function wait() orcs.sleep(0.3) end "
                f"return {{run = function() {ENDS[end]} return heard end, on_request = function() return {{data = orcs.caps().llm}} end}}",
                grant=Grant.llm(max_concurrency=1),
            ) as vm:
                began = time.perf_counter()
                heard = await vm.run()
                assert 0.29 < time.perf_counter() - began < 2.0
                assert vm.waiting_for == []
                assert await are_closed_at_once(server)
                held = await vm.request("caps")
                assert held["used"]["running"] == 0
                assert held["used"]["calls"] == (1 if stream else held["used"]["calls"])
        assert (heard > 0) is stream
        assert await trio.to_thread.run_sync(lambda: server.connections) == 1

    test()


@in_trio
async def test_calls_at_the_same_time_come_before_the_gate_in_the_order_they_were_asked_in() -> None:
    with EchoModel() as echo:
        async with loaded(
            echo,
            "return function() local answered = {} "
            "local answers = orcs.map({1, 2, 3, 4, 5, 6, 7, 8}, function(n) return orcs.llm('question ' .. n) end) "
            "for n, answer in ipairs(answers) do answered[n] = answer.ok end return answered end",
            grant=Grant.llm(max_calls=5),
        ) as vm:
            assert await vm.run() == [True] * 5 + [False] * 3


@in_trio
async def test_a_wait_before_a_retry_ends_too() -> None:
    answers = [status(503, b"{}", {"retry-after": "30"})] * 3
    with FaultServer(sequence(answers)) as server:
        async with loaded(
            server,
            "return function() return orcs.timeout(0.5, function() return orcs.llm('x') end) end",
        ) as vm:
            began = time.perf_counter()
            answer = await vm.run()
    assert (answer["error_kind"], answer["detail"]) == ("timeout", {"seconds": 0.5})
    assert time.perf_counter() - began < 2.0
    assert server.connections == 1


@in_trio
async def test_a_turn_that_is_ended_is_not_in_its_session_and_the_session_can_be_used_at_once() -> None:
    with EchoModel(delay_s=0.2) as echo:
        async with loaded(
            echo,
            "return function() orcs.timeout(0.05, function() orcs.llm('lost', {session_id = 's'}) end)\n"
            "return orcs.llm('kept', {session_id = 's'}) end",
        ) as vm:
            answer = await vm.run()
            stored = json.loads(vm.sessions.dump())["s"]
    assert answer["ok"], answer
    assert [message["content"] for message in stored] == ["kept", "You said: kept"]


@in_trio
async def test_two_strands_in_one_session_at_a_time_are_one_too_many() -> None:
    with EchoModel(delay_s=0.05) as echo:
        async with loaded(
            echo,
            "return function(ids) return orcs.map(ids, function(id) return orcs.llm('x', {session_id = id}).error_kind or 'none' end) end",
        ) as vm:
            assert sorted(await vm.run(["s", "s"])) == ["none", "session_busy"]
            assert await vm.run(["t", "u"]) == ["none", "none"]


@in_trio
async def test_many_calls_of_one_vm_are_under_way_at_once() -> None:
    with EchoModel(delay_s=0.1) as echo:
        async with loaded(
            echo,
            "return function(n) local t = {} for i = 1, n do t[i] = i end\n"
            "return orcs.map(t, function(i) return orcs.llm('say ' .. i).content end) end",
            grant=Grant.llm(max_calls=100),
        ) as vm:
            began = time.perf_counter()
            assert await vm.run(100) == [f"You said: say {i}" for i in range(1, 101)]
            assert time.perf_counter() - began < 5.0  # one after another they take ten
        assert echo.calls == 100


@in_trio
async def test_of_many_strands_exactly_as_many_calls_as_granted_get_through() -> None:
    with EchoModel(delay_s=0.01) as echo:
        async with loaded(
            echo,
            "return function() local t, ok = {}, 0 for i = 1, 20 do t[i] = i end\n"
            "for _, r in ipairs(orcs.map(t, function() return orcs.llm('x') end)) do if r.ok then ok = ok + 1 else assert(r.error_kind == 'budget_exceeded') end end\n"
            "return ok end",
            grant=Grant.llm(max_calls=7),
        ) as vm:
            assert await vm.run() == 7
        assert echo.calls == 7


@in_trio
async def test_more_sleeps_than_may_be_open_wait_their_turn() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return function() local n = 0 orcs.nursery(function(nursery) for i = 1, 2500 do nursery:spawn(function() orcs.sleep(0.01) n = n + 1 end) end end) return n end"
            )
        )
        assert await vm.run() == 2500


@in_trio
async def test_large_calls_of_one_step_all_arrive() -> None:
    with EchoModel() as echo:
        async with loaded(
            echo,
            "return function() local big = ('x'):rep(700000) return #orcs.map({1, 2, 3, 4, 5, 6}, function() return assert(orcs.llm(big).ok) end) end",
            limits=Limits(value_bytes=1 << 20),
        ) as vm:
            assert await vm.run() == 6


@pytest.mark.alone
@in_trio
async def test_a_vm_that_is_killed_in_one_strand_ends_the_calls_of_all() -> None:
    with FaultServer(hang) as server:
        async with loaded(
            server,
            "return function() orcs.all{function() orcs.llm('x') end, function() orcs.llm('y') end, function() orcs.sleep(0.2) while true do pcall(function() while true do end end) end end} end",
            limits=Limits(cpu_s=0.2),
        ) as vm:
            with pytest.raises(Exhausted):
                await vm.run()
            assert vm.waiting_for == []
            assert await are_closed_at_once(server)
            assert len(server.conns) == 2


@in_trio
async def test_a_revoke_ends_the_calls_of_all_strands_and_the_strands_go_on() -> None:
    with FaultServer(hang) as server:
        async with loaded(
            server,
            "return function() return orcs.map({1, 2, 3}, function() return orcs.llm('x').error_kind end) end",
        ) as vm:
            answers: list[Any] = []

            async def run() -> None:
                answers.extend(await vm.run())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await trio.to_thread.run_sync(server.wait_requests, 3)
                vm.revoke("llm")
    assert answers == ["capability_revoked"] * 3


@pytest.mark.alone
@in_trio
async def test_the_end_of_a_run_by_its_wall_clock_ends_all_strands() -> None:
    with FaultServer(hang) as server:
        async with loaded(
            server,
            "return {run = function() orcs.nursery(function(n) for i = 1, 3 do n:spawn(function() local x <close> = setmetatable({}, {__close = function() closed = (closed or 0) + 1 end}) orcs.llm('x') end) end end) end,"
            " on_request = function() return {data = closed} end}",
            limits=Limits(wall_s=0.3),
        ) as vm:
            with pytest.raises(Stopped):
                await vm.run()
            assert vm.waiting_for == []
            assert await vm.request("closed") == 3
            assert await are_closed_at_once(server)
