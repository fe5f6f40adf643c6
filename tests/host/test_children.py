"""Children as scripts have them: spawned, sent to, run, asked, signalled, cancelled, reaped; ids, limits, life."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_tests import in_trio

from luahost import ConfigError, Exhausted, Grant, Host, Limits, ScriptError, Source, Stopped
from luahost.program.vm import Vm

ECHO = "return { id = 'echo', run = function(v) return v end, on_signal = function() return 'Handled' end }"


@asynccontextmanager
async def manager(body: str, directory: Path | None = None, limits: Limits | None = None, **grant: Any) -> Any:
    """A VM that may have children, and whose run is this body; `echo` is the text of a child."""
    head = f"local echo = [[{ECHO}]]\nreturn function(input)\n"
    async with Host(output=lambda *_: None) as host:
        source = Source(head + body + "\nend", "m.lua", directory)
        yield await host.load(source, name="m", grants=[Grant("spawn", **grant)], limits=limits)


async def answer(body: str, input: Any = None, **kwargs: Any) -> Any:
    async with manager(body, **kwargs) as vm:
        return await vm.run(input)


# ── spawn, send, run ────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_a_child_that_is_sent_to_stays_and_one_that_is_run_is_over() -> None:
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = 'local n = 0 return { run = function(v) n = n + v return n end }' }\n"
        "local first, second, count = c:send(1), c:send(2), orcs.child_count()\n"
        "local last = c:run(3)\n"
        "return { spawned = c, results = { first.result, second.result, last.result }, count = count,\n"
        "  after = orcs.child_count(), status = c:status(), again = c:send(4).error_kind, other = orcs.child('x'):status() or 'none' }"
    )
    assert told["spawned"] == {"ok": True, "id": "c", "name": "m/c"}
    assert (told["results"], told["count"], told["after"]) == ([1, 3, 6], 1, 0)
    assert (told["status"], told["again"], told["other"]) == ("Completed", "child_not_found", "none")


@in_trio
async def test_without_a_grant_there_are_no_children_and_a_copy_of_the_function_works_later() -> None:
    async with Host() as host:
        vm = await host.load(
            Source(
                "local spawn = orcs.spawn_child return function(id) return spawn{ id = id, script = 'return 1' } end"
            )
        )
        refused = await vm.run("a")
        assert (refused["ok"], refused["error_kind"], refused["detail"]["grant"]) == (
            False,
            "permission_denied",
            "spawn",
        )
        vm.grant(Grant.spawn())
        assert (await vm.run("b"))["ok"]
        vm.revoke("spawn")
        assert (await vm.run("c"))["error_kind"] == "permission_denied"
        assert list(vm.children) == ["b"]  # who has a child keeps it


@in_trio
async def test_the_shapes_of_the_upstream() -> None:
    told = await answer(
        "for _, id in ipairs{ 'a', 'b' } do assert(orcs.spawn_child{ id = id, script = echo }.ok) end\n"
        "local ticket = orcs.send_to_child_async('b', 'later')\n"
        "return { send = orcs.send_to_child('a', { x = 1 }), nobody = orcs.send_to_child('z', 1),\n"
        "  async = ticket, result = orcs.child_result(ticket.ticket), twice = orcs.child_result(ticket.ticket).error_kind,\n"
        "  batch = orcs.send_to_children_batch({ 'b', 'z', 'a' }, { 1, 2, 3 }), none = orcs.send_to_children_batch({}, {}),\n"
        "  uneven = orcs.send_to_children_batch({ 'a' }, {}).error_kind, count = orcs.child_count(), max = orcs.max_children(),\n"
        "  list = orcs.children() }",
        max_children=5,
    )
    assert told["send"] == {"ok": True, "result": {"x": 1}}
    assert told["nobody"] == {
        "ok": False,
        "error": "there is no child 'z' below this script",
        "error_kind": "child_not_found",
        "retryable": False,
        "detail": {},
    }
    assert told["async"] == {"ok": True, "ticket": "t1"}
    assert (told["result"], told["twice"]) == ({"ok": True, "result": "later"}, "child_not_found")
    assert [each.get("result", each["ok"]) for each in told["batch"]] == [1, False, 3]
    assert (told["none"], told["uneven"], told["count"], told["max"]) == ([], "invalid_options", 2, 5)
    assert told["list"] == [{"id": "a", "status": "Idle"}, {"id": "b", "status": "Idle"}]


@in_trio
async def test_a_request_reaches_on_request_and_a_late_one_is_given_up() -> None:
    script = (
        "return { id = 'c', on_request = function(r)\n"
        "if r.operation == 'add' then return { success = true, data = r.payload[1] + r.payload[2] } end\n"
        "if r.operation == 'slow' then orcs.sleep(60) end\n"
        "return { success = false, error = 'cannot ' .. r.operation } end }"
    )
    told = await answer(
        "assert(orcs.spawn_child{ id = 'c', script = input }.ok)\n"
        "local began = orcs.now()\n"
        "return { add = orcs.request('c', 'add', { 2, 3 }), fly = orcs.request('c', 'fly'), gone = orcs.request('x', 'add'),\n"
        "  slow = orcs.request('c', 'slow', nil, { timeout_ms = 50 }), wrong = orcs.request('c', 'add', nil, { timeout = 1 }),\n"
        "  batch = orcs.request_batch{ { target = 'c', operation = 'fly' }, { target = 'c', operation = 'add', payload = { 1, 1 } } },\n"
        "  took = orcs.now() - began }",
        script,
    )
    assert told["add"] == {"ok": True, "success": True, "data": 5}
    assert (told["fly"]["success"], told["fly"]["error"], told["fly"]["error_kind"]) == (
        False,
        "cannot fly",
        "execution_failed",
    )
    assert told["gone"]["error_kind"] == "child_not_found"
    assert (told["slow"]["success"], told["slow"]["error_kind"]) == (False, "timeout")
    assert (told["wrong"]["success"], told["wrong"]["detail"]["field"]) == (False, "timeout")
    assert [each["success"] for each in told["batch"]] == [False, True]
    assert told["took"] < 5


@in_trio
async def test_what_a_child_fails_with_is_told_to_its_parent_with_its_line() -> None:
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = 'return { run = function(v)\\nif v == 1 then error(\"no way\") end return v end }' }\n"
        "return { c:send(1), c:status(), c:send(2), c:status(), c:run(1), c:status(), orcs.child_count() }"
    )
    failed, status, fine, after, last, ended, count = told
    assert (failed["error_kind"], failed["detail"]["where"], failed["detail"]["child"]) == (
        "execution_failed",
        "c:2",
        "m/c",
    )
    assert "no way" in failed["error"]
    assert (status, fine["result"], after) == ("Error", 2, "Idle")  # it can be sent to again
    assert (last["error_kind"], ended, count) == ("execution_failed", "Error", 0)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("return {", "invalid_script"),
        ("error('at the top')", "execution_failed"),
        ("return { init = function() error('in init') end }", "execution_failed"),
        ("while true do end", "exhausted"),
    ],
)
@in_trio
async def test_a_child_that_cannot_begin_is_none(script: str, kind: str) -> None:
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = input, limits = { cpu_s = 0.2 } }\n"
        "return { c, orcs.child_count(), orcs.spawn_child{ id = 'c', script = echo }.ok }",
        script,
    )
    assert (told[0]["ok"], told[0]["error_kind"], told[1:]) == (False, kind, [0, True])


@in_trio
async def test_the_top_level_of_a_child_is_sandboxed_and_has_its_grants_already() -> None:
    script = (
        "local nothing = io == nil and os.execute == nil and os.getenv == nil and debug == nil and python == nil\n"
        "local binary = load('\\27Lua')\n"
        "local can = orcs.can('spawn') return { nothing, binary == nil, can, orcs.spawn_child{ id = 'd', script = 'return 1' }.ok }"
    )
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = input, caps = { spawn = true } } return c:send().result",
        script,
    )
    assert told == [True, True, True, True]


@in_trio
async def test_a_child_is_read_from_beneath_the_parents_directory_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "agents" / "deep").mkdir(parents=True)
    (tmp_path / "agents" / "w.lua").write_text("return function(v) return 'w' .. v .. require('agents.helper') end")
    (tmp_path / "agents" / "helper.lua").write_text("return '!'")
    (tmp_path / "agents" / "bytes.lua").write_bytes(b"\x1bLua")
    (tmp_path / "agents" / "out.lua").symlink_to("/etc/passwd")
    (tmp_path / "agents" / "up").symlink_to("/etc")
    told = await answer(
        "local kinds = {}\n"
        "for i, path in ipairs{ '/etc/passwd', '../x.lua', 'agents/../agents/w.lua', 'agents/none.lua', 'agents/out.lua', 'agents/up/passwd', 'agents/deep', 'agents/bytes.lua', '' } do\n"
        "  kinds[i] = orcs.spawn_child{ id = 'p' .. i, path = path }.error_kind end\n"
        "return { kinds, orcs.spawn_child{ id = 'a', path = 'agents/w.lua' }:run('1').result,\n"
        "  orcs.spawn_child{ id = 'b', module = 'agents.w' }:run('2').result, orcs.spawn_child{ id = 'c', module = 'no' }.error_kind,\n"
        "  orcs.spawn_child{ id = 'd' }.detail.field, orcs.spawn_child{ id = 'd', script = 'x', path = 'y' }.detail.field }",
        directory=tmp_path,
    )
    assert told[0] == [
        "path_not_allowed",
        "path_not_allowed",
        "path_not_allowed",
        "script_not_found",
        "script_not_found",
        "script_not_found",
        "invalid_script",
        "invalid_script",
        "path_not_allowed",
    ]
    assert told[1:] == ["w1!", "w2!", "script_not_found", "script", "script"]


# ── ids, places, limits ─────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_ids_are_of_one_parent_and_places_come_back() -> None:
    told = await answer(
        "local function spawn(id) return orcs.spawn_child{ id = id, script = echo } end\n"
        "local a, again, b = spawn('a'), spawn('a'), spawn('b')\n"
        "local full = spawn('c')\n"
        "a:close()\n"
        "local c = spawn('c')\n"
        "local bad = {}\n"
        "for i, id in ipairs{ '', '.', '..', 'a/b', 'a b', 'a\\0', ('x'):rep(65) } do bad[i] = spawn(id).detail.field end\n"
        "return { again.error_kind, full.error_kind, full.detail, c.ok, #bad, orcs.child_count(), spawn(('y'):rep(64)).error_kind }",
        max_children=2,
    )
    assert told[:2] == ["already_exists", "max_children_reached"]
    assert {"rule": "max_children", "limit": 2, "used": 2, "grant": "spawn:max_children=3"}.items() <= told[
        2
    ].items()
    assert told[3:] == [True, 7, 2, "max_children_reached"]


@in_trio
async def test_a_failed_child_leaves_when_its_id_or_its_place_is_wanted() -> None:
    told = await answer(
        "local bad = 'return { run = function() error(\"x\") end }'\n"
        "for _, id in ipairs{ 'a', 'b' } do orcs.spawn_child{ id = id, script = bad }:send() end\n"
        "local again = orcs.spawn_child{ id = 'b', script = echo }\n"  # its id
        "local third = orcs.spawn_child{ id = 'c', script = echo }\n"  # a's place
        "return { again:send(1).result, third:send(2).result, orcs.child('a'):status(), orcs.child_count() }",
        max_children=2,
    )
    assert told == [1, 2, "Aborted", 2]


@in_trio
async def test_depth_and_the_whole_tree_are_bounded() -> None:
    nest = (
        "local text = ... return function(levels)\n"
        "local c = orcs.spawn_child{ id = 'n', script = text, input = text, caps = 'inherit' }\n"
        "if not c.ok then return { c.error_kind } end\n"
        "if levels == 0 then return { 'deep enough' } end\n"
        "local below = c:send(levels - 1) table.insert(below.result, 1, c.name) return below.result end"
    )
    async with Host() as host:
        vm = await host.load(Source(nest, "r"), input=nest, grants=[Grant.spawn(max_depth=3)])
        assert await vm.run(9) == ["r/n", "r/n/n", "r/n/n/n", "max_depth_reached"]
        wide = "return function() local kinds = {} for i = 1, 4 do local c = orcs.spawn_child{ id = 'c' .. i, script = 'return 1' } kinds[i] = c.error_kind or 'ok' end return kinds end"
        few = await host.load(Source(wide), grants=[Grant.spawn(max_tree=3, max_children=9)])
        assert await few.run() == ["ok", "ok", "ok", "max_children_reached"]


@in_trio
async def test_a_childs_limits_are_at_most_its_parents() -> None:
    limits = Limits(memory_bytes=8 << 20, cpu_s=2, output_bytes=1000, value_bytes=100_000)
    async with manager(
        "local kinds = {}\n"
        "for i, limits in ipairs{ { memory_bytes = 9 << 20 }, { cpu_s = 3 }, { output_bytes = 1001 }, { value_bytes = 1 << 20 }, { wall = 1 }, { cpu_s = -1 } } do\n"
        "  local c = orcs.spawn_child{ id = 'c' .. i, script = echo, limits = limits } kinds[i] = c.error_kind .. ' ' .. (c.detail.rule or c.detail.field) end\n"
        "assert(orcs.spawn_child{ id = 'ok', script = echo, limits = { memory_bytes = 4 << 20, wall_s = 5 } }.ok)\n"
        "assert(orcs.spawn_child{ id = 'same', script = echo }.ok) return kinds",
        limits=limits,
    ) as vm:
        assert await vm.run() == [
            "capability_widening limits.memory_bytes",
            "capability_widening limits.cpu_s",
            "capability_widening limits.output_bytes",
            "capability_widening limits.value_bytes",
            "invalid_options limits.wall",
            "invalid_options limits.cpu_s",
        ]
        assert vm.children["same"].limits == limits
        assert (vm.children["ok"].limits.memory_bytes, vm.children["ok"].limits.wall_s) == (4 << 20, 5)


@in_trio
async def test_a_child_that_hits_its_limit_ends_alone() -> None:
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = 'return { run = function() while true do end end }', limits = { cpu_s = 0.1 } }\n"
        "local r = c:send() return { r.error_kind, r.detail.limit, c:status(), orcs.child_count(), orcs.spawn_child{ id = 'c', script = echo }:run(7).result }"
    )
    assert told == ["exhausted", "cpu_s", "Error", 0, 7]


@in_trio
async def test_cpu_is_charged_to_the_whole_tree() -> None:
    spin = "return { run = function() local t = os.clock() while os.clock() - t < 0.05 do end return 1 end }"
    body = "local n = 0 for i = 1, 20 do local c = orcs.spawn_child{ id = 'c' .. i, script = input } local r = c.ok and c:run() or c n = n + (r.result or error('at ' .. i)) end return n"
    async with manager(body, limits=Limits(cpu_s=0.5)) as vm:
        with pytest.raises(ScriptError, match=r"at (9|1[0-2])$"):
            await vm.run(spin)
    at_once = "local ids = {} for i = 1, 8 do ids[i] = 'c' .. i orcs.spawn_child{ id = ids[i], script = input } end return orcs.send_to_children_batch(ids, ids)"
    with pytest.raises(Exhausted, match="by the VMs below"):
        await answer(at_once, spin.replace("0.05", "0.15"), limits=Limits(cpu_s=0.5))
    hog = "return { run = function() while true do end end }"
    body_of_two = "local function hog(id) return orcs.spawn_child{ id = id, script = input }:run() end local a = hog('a') return { a.error_kind, orcs.spawn_child{ id = 'b', script = input }.error_kind }"
    assert await answer(body_of_two, hog, limits=Limits(cpu_s=0.3)) == [
        "exhausted",
        "exhausted",
    ]  # and it goes on itself
    assert await answer(body.replace("20", "2"), spin, limits=Limits(cpu_s=0.5)) == 2


# ── reach ───────────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_ancestors_reach_down_and_nobody_reaches_up_or_across() -> None:
    inner = (
        "orcs.spawn_child{ id = 'low', script = 'return { run = function(v) return v end }' }\n"
        "return { run = function() local kinds = {}\n"
        "for i, at in ipairs{ 'b', 'm', 'm/b', '../b', '/b', 'a', '', '.', 'low/..' } do kinds[i] = orcs.send_to_child(at, 1).error_kind or 'reached' end\n"
        "kinds[#kinds + 1] = orcs.send_to_child('low', 1).ok and 'below' return kinds end }"
    )
    told = await answer(
        "local a = orcs.spawn_child{ id = 'a', script = input, caps = { spawn = true } }\n"
        "orcs.spawn_child{ id = 'b', script = echo }\n"
        "return { a:send().result, orcs.send_to_child('a/low', 'down').result, orcs.child('a/low'):status(), orcs.child('a/low'):close().ok, orcs.send_to_child('a/low', 1).error_kind }",
        inner,
    )
    assert told[0] == ["child_not_found"] * 9 + ["below"]
    assert told[1:] == ["down", "Idle", True, "child_not_found"]


@in_trio
async def test_a_send_from_parent_to_child_to_grandchild_and_a_count_inside_it_do_not_wait_for_each_other() -> None:
    child = (
        "return { run = function(v) local g = orcs.spawn_child{ id = 'g', script = 'return { run = function(v) orcs.sleep(0.01) return v + orcs.child_count() end }' }\n"
        "return g:run(v).result + orcs.child_count() end }"
    )
    told = await answer(
        "local ids, inputs = {}, {}\n"
        "for i = 1, 5 do ids[i] = 'c' .. i inputs[i] = i assert(orcs.spawn_child{ id = ids[i], script = input, caps = 'inherit' }.ok) end\n"
        "local sums = {} for i, r in ipairs(orcs.send_to_children_batch(ids, inputs)) do sums[i] = r.result or r.error end return sums",
        child,
    )
    assert told == [1, 2, 3, 4, 5]


# ── life ────────────────────────────────────────────────────────────────────────────────────────────────

LIFE = """
local n = 0
return { id = 'life',
  init = function() orcs.emit_output('init ' .. n) end,
  run = function(v) if v == 'wait' then orcs.sleep(60) end n = n + 1 return n end,
  on_signal = function(s) orcs.emit_output(s.kind .. ' ' .. s.scope .. ' ' .. (s.reason or ''), 'info') return s.reason or 'Handled' end,
  abort = function() orcs.emit_output('abort') end,
  snapshot = function() return { n = n } end,
  restore = function(v) n = v.n end,
  shutdown = function() orcs.emit_output('shutdown') end }
"""


@in_trio
async def test_a_child_lives_through_init_signals_snapshot_restore_and_shutdown() -> None:
    said: list[tuple[str, str, str]] = []
    async with Host(output=lambda *each: said.append(each)) as host:
        body = (
            "local life = ... return function() local c = orcs.spawn_child{ id = 'c', script = life }\n"
            "c:send() c:send() local kept = c:snapshot().result c:signal('Pause') local paused = c:status() c:signal('Resume')\n"
            "local kind = c:signal('Vito').detail.field c:close()\n"
            "local d = orcs.spawn_child{ id = 'd', script = life, restore = kept } local n = d:send().result\n"
            "local wrong = { orcs.spawn_child{ id = 'e', script = life, restore = { 1 } }.error_kind, orcs.spawn_child{ id = 'e', script = 'return {id = \"other\", restore = print}', restore = kept }.error_kind }\n"
            "local over = d:signal('Cancel', 'abort') return { kept, paused, kind, n, wrong, over.answer, d:status(), orcs.child_count() } end"
        )
        vm = await host.load(Source(body, "m"), input=LIFE, grants=[Grant.spawn()])
        told = await vm.run()
    assert told[0] == {"component": "life", "version": 1, "state": {"n": 2}}
    assert told[1:4] == ["Paused", "kind", 3]
    assert told[4:] == [["invalid_input", "component_mismatch"], "Abort", "Aborted", 0]
    assert [text.strip() for name, kind, text in said if name == "m/c"] == [
        "init 0",
        "Pause component",
        "Resume component",
        "shutdown",
    ]
    assert said[4] == ("m/d", "output", "init 2\n")
    assert ("m/d", "log.info", "Cancel component abort\n") in [(n, k, t.rstrip() + "\n") for n, k, t in said]


@in_trio
async def test_cancel_ends_a_child_at_once_and_its_abort_is_called() -> None:
    said: list[str] = []
    async with Host(output=lambda vm, kind, text: said.append(text.strip())) as host:
        body = (
            "local life = ... return function() local c = orcs.spawn_child{ id = 'c', script = life }\n"
            "local ticket = c:send_async('wait').ticket orcs.sleep(0.02) local during, began = c:status(), orcs.now()\n"
            "c:cancel() local took = orcs.now() - began\n"
            "local r = orcs.child_result(ticket) return { during, took, r.error_kind, c:status(), orcs.child_count() } end"
        )
        told = await (await host.load(Source(body), input=LIFE, grants=[Grant.spawn()])).run()
    assert (told[0], told[2:]) == ("Running", ["aborted", "Aborted", 0])
    assert told[1] < 0.1
    assert said == ["init 0", "Cancel component", "abort"]


@in_trio
async def test_a_paused_vm_lets_runs_wait_until_it_is_resumed_and_128_of_them() -> None:
    async with Host() as host:
        vm = await host.load(Source("return { run = function(v) return v end }"))
        await vm.signal("Pause")
        done: list[int] = []
        async with trio.open_nursery() as nursery:

            async def run(n: int) -> None:
                done.append(await vm.run(n))

            for n in range(128):
                nursery.start_soon(run, n)
            await trio.testing.wait_all_tasks_blocked()
            assert (vm.status, done) == ("Paused", [])
            with pytest.raises(Exhausted, match="128"):
                await vm.run(0)
            await vm.signal("Resume")
        assert sorted(done) == list(range(128))


@in_trio
async def test_a_child_ends_with_its_parent_and_nothing_of_it_is_left() -> None:
    async with Host() as host:
        keep = "return { run = function() for i = 1, 3 do orcs.spawn_child{ id = 'c' .. i, script = 'return { run = function() orcs.sleep(60) end }', caps = 'inherit' } end for i = 1, 3 do orcs.send_to_child_async('c' .. i) end end }"
        vm = await host.load(Source(keep), grants=[Grant.spawn()])
        await vm.run()
        await trio.sleep(0.02)
        pids = host._pool.worker_pids
        assert len(pids) == 4
        children = list(vm.children.values())
        assert [each.status for each in children] == ["Running"] * 3
        await vm.close()
        assert (host._pool.worker_pids, dict(vm.children), host.tree()) == ([], {}, [])
        assert [each.status for each in children] == ["Aborted"] * 3 or [each.status for each in children] == [
            "Completed"
        ] * 3


@in_trio
async def test_a_vm_that_crashes_takes_those_below_it_along() -> None:
    async with Host() as host:
        family = "return { run = function() assert(orcs.spawn_child{ id = 'c', script = 'orcs.spawn_child{ id = \"g\", script = \"return 1\" } return 1', caps = 'inherit' }.ok) end }"
        vm = await host.load(Source(family), grants=[Grant.spawn()])
        await vm.run()
        child = vm.children["c"]
        grandchild = child.children["g"]
        os.kill(vm._port.worker.pid, 9)
        with trio.fail_after(5):
            for each in (vm, child, grandchild):
                await each._gone.wait()
        assert host._pool.worker_pids == []
        assert (vm.status, child.status, grandchild.status) == ("Error", "Aborted", "Aborted")
        with pytest.raises(Stopped):
            await grandchild.run()


# ── from Python ─────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_python_spawns_children_too_and_gives_them_what_the_parent_delegates() -> None:
    async with Host() as host:
        parent: Vm = await host.load(Source("return 1", "p"), grants=[Grant.llm(max_calls=5)])
        child = await parent.spawn(
            "c", Source("return orcs.caps().llm.constraints"), grants=[parent.delegate("llm", max_calls=2)]
        )
        assert (child.name, child.parent, child.depth) == ("p/c", parent, 1)
        assert await child.run() == {"max_calls": 2}
        with pytest.raises(ConfigError, match="already"):
            await parent.spawn("c", Source("return 1"))
        with pytest.raises(ConfigError, match="letters"):
            await parent.spawn("a/b", Source("return 1"))
        with pytest.raises(ConfigError, match="widened"):
            parent.delegate("llm", max_calls=6)
        with pytest.raises(ConfigError, match="delegate"):
            child.grant(Grant.llm())
        with pytest.raises(ConfigError, match="no such grant"):
            parent.delegate("spawn")
        with pytest.raises(ScriptError):
            await parent.spawn("bad", Source("error('x')"))
        assert [each.name for each in host.tree()[0].walk()] == ["p", "p/bad", "p/c"]


@in_trio
async def test_a_script_that_only_hears_signals_cannot_be_run() -> None:
    told = await answer(
        "local c = orcs.spawn_child{ id = 'c', script = 'return { id = \"c\", on_signal = function() return \"Handled\" end }' }\n"
        "return { c:send().error_kind, c:signal('Steer', 'left').answer }"
    )
    assert told == ["not_runnable", "Handled"]


@in_trio
async def test_a_wrong_argument_raises_at_the_callers_line_and_a_wrong_option_is_named() -> None:
    told = await answer(
        "local seen = {}\n"
        "for i, f in ipairs{ function() orcs.spawn_child('x') end, function() orcs.send_to_child(1) end, function() orcs.child_result() end,\n"
        "  function() orcs.request('a') end, function() orcs.send_to_children_batch('a') end, function() orcs.child('c').send('x') end } do\n"
        "  local ok, message = pcall(f) seen[i] = not ok and message:match('^m.lua:%d+: ') ~= nil end\n"
        "local cyclic = {} cyclic[1] = cyclic\n"
        "return { seen, orcs.spawn_child{ id = 'c', scirpt = 'x' }.error, orcs.spawn_child{ id = 'c', script = cyclic }.detail.field or 'none', orcs.send_to_child('c', cyclic).error_kind }"
    )
    assert told[0] == [True] * 6
    assert "did you mean 'script'" in told[1]
    assert told[3] == "invalid_input"
