"""The Python surface: what a script may be, how it is called, stopped and closed, and what the caller hears."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio_tests import children, in_trio

import luahost
from luahost import (
    ConfigError,
    Exhausted,
    Host,
    HostFault,
    Limits,
    ScriptError,
    Source,
    Stopped,
)
from luahost.bridge.syscalls import SYSCALLS
from luahost.program.turn import MAX_PAUSED

# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_a_chunk_may_return_a_table_a_function_or_any_value() -> None:
    async with Host() as host:

        async def result(text: str, input: Any = None) -> Any:
            return await (await host.load(Source(text), input=input)).run(input)

        assert await result("return {run = function(i) return i * 2 end}", 21) == 42
        assert await result("return function(i) return i .. '!' end", "hi") == "hi!"
        assert await result("return {1, 2, 3}") == [1, 2, 3]
        assert await result("local x = ... return x + 1", 1) == 2
        assert await result("") is None
        assert await result(
            "return {on_request = function(r) return {data = {r.operation, r.category, r.payload}} end}", "p"
        ) == {"data": ["run", "UserInput", "p"]}


@in_trio
async def test_a_component_lives_through_init_requests_signals_and_shutdown() -> None:
    said: list[str] = []
    async with Host(output=lambda vm, kind, text: said.append(text.rstrip())) as host:
        vm = await host.load(
            Source(
                "return {id = 'c', init = function(cfg) print('init', cfg) end,\n"
                "on_request = function(r) if r.operation == 'fail' then return {success = false, error = 'no ' .. r.payload} end\n"
                "if r.operation == 'nothing' then return end if r.operation == 'plain' then return 5 end\n"
                "return {success = true, data = r.payload} end,\n"
                "on_signal = function(s) print('signal', s.kind, s.scope, s.reason) return s.kind == 'Veto' and 'abort' or s.kind == 'Pause' and 'handled' or '?' end,\n"
                "shutdown = function() print('bye') end}"
            )
        )
        assert await vm.request("echo", {"a": [1]}) == {"a": [1]}
        assert await vm.request("nothing") is None
        assert await vm.request("plain") == 5
        with pytest.raises(ScriptError, match="no way"):
            await vm.request("fail", "way")
        assert await vm.signal("Pause", "because") == "Handled"
        assert await vm.signal("Steer") == "Ignored"
        assert await vm.signal("Veto") == "Handled"  # a component cannot abort itself on Veto
        with pytest.raises(ConfigError, match="did you mean|one of"):
            await vm.signal("Vito")
        await vm.close()
    assert said[0] == "init\tnil"
    assert said[1] == "signal\tPause\tcomponent\tbecause"
    assert said[-1] == "bye"


@in_trio
async def test_a_signal_is_answered_while_a_run_waits_and_abort_ends_the_vm() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "return {run = function() orcs.sleep(60) end, on_signal = function(s)\n"
                "orcs.sleep(0.01) return s.kind == 'Cancel' and 'Abort' or 'Handled' end}"
            )
        )
        ended: list[BaseException] = []

        async def run() -> None:
            try:
                await vm.run()
            except luahost.LuahostError as error:
                ended.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(0.05)
            assert await vm.signal("Pause") == "Handled"
            assert not ended
            assert await vm.signal("Cancel") == "Abort"
        assert isinstance(ended[0], Stopped)
        assert ended[0].kind == "aborted"
        with pytest.raises(Stopped):
            await vm.run()


@in_trio
async def test_an_error_of_on_request_reaches_the_caller_with_line_and_traceback() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "local function f(x) error('bad ' .. x) end\nreturn {on_request = function(r)\nf(r.payload) end}",
                "c.lua",
            )
        )
        with pytest.raises(ScriptError, match="bad thing") as caught:
            await vm.request("op", "thing")
    assert caught.value.where == "c.lua:1"
    assert "c.lua:3" in caught.value.traceback
    assert "luahost" not in caught.value.traceback


@in_trio
async def test_a_script_without_on_request_says_so() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        with pytest.raises(ScriptError, match="on_request") as caught:
            await vm.request("x")
    assert caught.value.kind == "not_runnable"


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_values_come_back_as_they_went_in() -> None:
    values = [
        None,
        True,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        1.5,
        "",
        "ü\n",
        b"\xff\x00",
        [],
        {},
        {"a": [None, {"b": []}]},
        "x" * 100_000,
    ]
    async with Host() as host:
        vm = await host.load(Source("return function(v) return v end"))
        for value in values:
            assert await vm.run(value) == value
        assert vm.usage.largest_value_bytes > 100_000


@pytest.mark.parametrize(
    ("value", "words"),
    [(object(), "JSON"), (2**70, "JSON"), ("x" * 3000, "bytes"), ([[]], "deep")],
)
def test_a_value_that_cannot_cross_is_refused_before_anything_runs(value: Any, words: str) -> None:
    @in_trio
    async def case() -> None:
        nested = value
        if value == [[]]:
            nested = []
            for _ in range(70):
                nested = [nested]
        async with Host() as host:
            vm = await host.load(Source("return function(v) return 'ran' end"), limits=Limits(value_bytes=2048))
            with pytest.raises(ConfigError, match=words):
                await vm.run(nested)
            assert await vm.run(1) == "ran"

    case()


@in_trio
async def test_a_result_that_cannot_cross_is_a_script_error_naming_the_place() -> None:
    async with Host() as host:
        for text, words in [
            ("return {a = {print}}", r"a\[1\]: a function cannot be sent"),
            ("local t = {} t.t = t return t", "cycle"),
            ("return 0/0", "not finite"),
            ("return {1, 2, x = 3}", "list items and named keys"),
            ("return ('x'):rep(9000000)", "too large"),
        ]:
            vm = await host.load(Source(text))
            with pytest.raises(ScriptError, match=words) as caught:
                await vm.run()
            assert caught.value.kind == "invalid_result"


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("isolation", ["vm", "tree", "shared"])
def test_each_limit_ends_its_vm_with_its_name_and_no_other(isolation: str) -> None:
    @in_trio
    async def case() -> None:
        limits = Limits(cpu_s=0.2, memory_bytes=8 << 20, isolation=isolation)
        async with Host() as host:
            sibling = await host.load(Source("return function() return 'well' end"), limits=limits)
            for text, limit in (
                ("while true do end", "cpu_s"),
                ("while true do pcall(function() while true do end end) end", "cpu_s"),
                ("local t = {} while true do t[#t + 1] = {} end", "memory_bytes"),
                ("local s = 'x' while true do s = s .. s end", "memory_bytes"),
            ):
                with pytest.raises(Exhausted) as caught:
                    await host.load(Source(text), limits=limits)
                assert caught.value.limit == limit, text
            assert await sibling.run() == "well"

    case()


@in_trio
async def test_the_cpu_limit_is_for_each_activation() -> None:
    async with Host() as host:
        spin = "return function() local t = os.clock() while os.clock() - t < 0.15 do end return 1 end"
        vm = await host.load(Source(spin), limits=Limits(cpu_s=0.4))
        for _ in range(4):
            assert await vm.run() == 1
        assert vm.usage.cpu_s > 0.5


@pytest.mark.alone
@in_trio
async def test_the_wall_limit_counts_waits_and_the_vm_can_be_used_again() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function(s) orcs.sleep(s) return s end"), limits=Limits(wall_s=0.2))
        began = time.perf_counter()
        with pytest.raises(Stopped) as caught:
            await vm.run(60)
        assert caught.value.kind == "deadline_exceeded"
        assert time.perf_counter() - began < 0.45
        assert await vm.run(0.01) == 0.01
        assert vm.usage.wall_s >= 0.2


@in_trio
async def test_output_over_the_limit_is_dropped_and_counted() -> None:
    said: list[str] = []
    async with Host(output=lambda vm, kind, text: said.append(text)) as host:
        vm = await host.load(
            Source("return function() for i = 1, 100 do print(('x'):rep(99)) end end"),
            limits=Limits(output_bytes=1000),
        )
        await vm.run()
        await vm.run()
    assert sum(map(len, said)) == 2000
    assert vm.usage.output_bytes == 2000
    assert vm.usage.output_dropped_bytes == 18_000


@in_trio
async def test_nothing_a_script_says_moves_a_cursor_or_forges_a_line() -> None:
    said: list[tuple[str, str]] = []
    async with Host(output=lambda vm, kind, text: said.append((kind, text))) as host:
        await host.load(
            Source("print('a\\27[2J\\rb\\0') orcs.log('error', 'x\\nERROR forged') orcs.log('nonsense', 'y')")
        )
    assert said == [
        ("print", "a\\x1b[2J\\x0db\\x00\n"),
        ("log.error", "x\\nERROR forged"),
        ("log.info", "y"),
    ]


@pytest.mark.parametrize("bug", [KeyError, msgspec.ValidationError])
@in_trio
async def test_a_bug_of_ours_ends_the_call_it_is_in_and_not_the_host(bug: type[Exception]) -> None:
    def broken(share: object, args: object) -> object:
        raise bug("a bug")

    row = SYSCALLS["caps"]
    async with Host() as host:
        vm = await host.load(Source("return function() return orcs.caps() end"))
        SYSCALLS["caps"] = msgspec.structs.replace(row, act=broken)
        try:
            no = await vm.run()
        finally:
            SYSCALLS["caps"] = row
        assert (no["ok"], no["error_kind"], no["error"]) == (
            False,
            "internal",
            f"the host failed in caps ({bug.__name__})",
        )
        assert await vm.run() == {}


# ── cancel and close ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.alone
@in_trio
async def test_a_cancelled_run_ends_at_once_and_the_vm_answers_the_next() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function(s) orcs.sleep(s) return s end"))
        began = time.perf_counter()
        with trio.move_on_after(0.05):
            await vm.run(60)
        assert time.perf_counter() - began < 0.15
        assert await vm.run(0) == 0
        assert not vm._bridge._open


@in_trio
async def test_a_cancelled_run_that_spins_loses_its_worker_within_100_ms() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function() while true do end end"))
        pid = vm._port.worker.pid
        with trio.move_on_after(0.05):
            await vm.run()
        await trio.sleep(0.1)
        assert not Path(f"/proc/{pid}").exists() or pid not in children()
        with pytest.raises(Stopped):
            await vm.run()


@in_trio
async def test_runs_of_one_vm_come_one_after_another() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "local inside = 0 return function() inside = inside + 1 local n = inside orcs.sleep(0.02) inside = inside - 1 return n end"
            )
        )
        answers: list[Any] = []

        async def one() -> None:
            answers.append(await vm.run())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
    assert answers == [1] * 5


@in_trio
async def test_runs_wait_for_a_paused_vm_up_to_a_number_and_then_in_their_order() -> None:
    order: list[int] = []

    async def run(number: int) -> None:
        order.append(await vm.run(number))

    async with Host() as host:
        vm = await host.load(Source("return function(n) return n end"))
        await vm.signal("Pause")
        async with trio.open_nursery() as nursery:
            for number in range(MAX_PAUSED):
                nursery.start_soon(run, number)
                await trio.testing.wait_all_tasks_blocked(0.001)
            with pytest.raises(Exhausted, match=f"is paused, and {MAX_PAUSED} wait already") as full:
                await vm.run(-1)
            assert (full.value.kind, vm.status, order) == ("queue_full", "Paused", [])
            await vm.signal("Resume")
        assert order == list(range(MAX_PAUSED)) and await vm.run(-1) == -1


@in_trio
async def test_a_slow_shutdown_is_not_waited_for_longer_than_a_second() -> None:
    began = 0.0
    async with Host() as host:
        await host.load(Source("return {shutdown = function() orcs.sleep(60) end}"))
        began = time.perf_counter()
    assert time.perf_counter() - began < 2.0


@in_trio
async def test_slow_shutdowns_are_waited_for_together() -> None:
    async with Host() as host:
        for _ in range(25):
            await host.load(Source("return {shutdown = function() orcs.sleep(60) end}"))
        began = trio.current_time()
    assert trio.current_time() - began < 15, "a second for all of them, not for each"


@in_trio
async def test_a_script_that_fails_while_loading_leaves_no_worker() -> None:
    async with Host() as host:
        for text in ("error('at the top')", "x = = 1", "return {init = function() error('in init') end}"):
            with pytest.raises(ScriptError):
                await host.load(Source(text))
        assert host._pool.worker_pids == []


# ── scripts and modules as files ────────────────────────────────────────────────────────────────────────


@in_trio
async def test_require_finds_modules_beside_the_script_and_runs_each_once(tmp_path: Path | None = None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lib" / "deep").mkdir(parents=True)
        (folder / "main.lua").write_text(
            "local a, b, c = require('lib.a'), require('lib.deep'), require('lib.a')\n"
            "local ok, e = pcall(require, 'missing')\n"
            "return {a.n, b, a == c, e, {pcall(require, 'loop')}, {pcall(require, 'broken')}, {pcall(require, 'link')}, {pcall(require, 'fifo')}}"
        )
        (folder / "lib" / "a.lua").write_text("count = (count or 0) + 1 orcs.sleep(0.001) return {n = count}")
        (folder / "lib" / "deep" / "init.lua").write_text("return ...")
        (folder / "loop.lua").write_text("return require('loop')")
        (folder / "broken.lua").write_text("x = = 1")
        (folder.parent / "luahost-test-outside.lua").write_text("return 'outside'")
        (folder / "link.lua").symlink_to(folder.parent / "luahost-test-outside.lua")
        os.mkfifo(folder / "fifo.lua")
        try:
            async with Host() as host:
                vm = await host.load(folder / "main.lua")
                count, deep, same, missing, loop, broken, link, fifo = await vm.run()
        finally:
            (folder.parent / "luahost-test-outside.lua").unlink()
    assert (count, deep, same) == (1, "lib.deep", True)
    assert "module 'missing' not found" in missing
    assert "requires itself" in loop[1]
    assert "broken.lua:1:" in broken[1]
    assert link[0] is False
    assert fifo[0] is False
    assert str(folder) not in missing + link[1] + fifo[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "is a directory"),
        (os.mkfifo, "is a FIFO"),
        (lambda p: p.write_bytes(b"\x1bLuaT\0"), "bytecode"),
        (lambda p: p.write_bytes(b" " * 300_000), "at most"),
    ],
)
def test_a_script_file_that_is_none_is_a_config_error(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "s.lua"
    make(path)

    @in_trio
    async def case() -> None:
        async with Host() as host:
            with pytest.raises(ConfigError, match=words):
                await host.load(path)

    case()


def test_a_byte_order_mark_and_a_first_line_for_the_shell_are_read_over(tmp_path: Path) -> None:
    path = tmp_path / "s.lua"
    path.write_bytes(b"\xef\xbb\xbf#!/usr/bin/env luahost\nlocal x = 1\nerror('here')")
    with pytest.raises(ScriptError) as caught:
        luahost.run(path)
    assert caught.value.where == "s.lua:3"


# ── blocking run ────────────────────────────────────────────────────────────────────────────────────────


def test_run_blocks_and_returns_plain_values(capsys: Any) -> None:
    assert luahost.run(Source("print('said') return function(n) return {n, n * 2} end"), 2) == [2, 4]
    assert capsys.readouterr().out == "said\n"
    assert not children()


def test_run_works_from_any_thread() -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(luahost.run(Source("return 1 + 1")))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [2, 2, 2]


def test_run_works_inside_asyncio_and_inside_trio_and_its_errors_come_through() -> None:
    def both() -> None:
        assert luahost.run(Source("return 'in'")) == "in"
        with pytest.raises(ScriptError, match="boom"):
            luahost.run(Source("error('boom')"))

    async def body() -> None:
        both()

    asyncio.run(body())
    trio.run(body)


def test_importing_luahost_imports_neither_trio_nor_httpx() -> None:
    import subprocess
    import sys

    code = "import luahost, sys; assert not {'trio', 'httpx', 'lupa'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@in_trio
async def test_a_worker_that_broke_says_whose_fault_it_was() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function() orcs.sleep(9) end"))
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await trio.sleep(0.05)
                os.kill(vm._port.worker.pid, 9)

            nursery.start_soon(kill)
            with pytest.raises(HostFault):
                await vm.run()
