"""Documents that the host reads, code that is evaluated apart, events: what they give, and what they cost."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_tests import in_trio

from luahost import Config, Exhausted, Grant, Host, Limits, Provider, Source
from luahost.errors import LuahostError
from luahost.ops.board import MAX_BYTES, MAX_EVENTS, Board

CALL = "return function(a) return orcs[a[1]](a[2], a[3], a[4]) end"


async def called(host: Host, *call: Any, grants: list[Grant] | None = None) -> Any:
    vm = await host.load(Source(CALL), grants=grants or [])
    try:
        return await vm.run(list(call))
    finally:
        await vm.close()


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_toml_becomes_plain_values_and_bad_toml_raises() -> None:
    async with Host() as host:
        value = await called(host, "toml_parse", 'a = 1\nd = 2026-01-02T03:04:05Z\nt = 07:30:00\n[s]\nx = [1, "b"]')
        assert value == {"a": 1, "d": "2026-01-02T03:04:05+00:00", "t": "07:30:00", "s": {"x": [1, "b"]}}
        for bad in (
            "a = ",
            "a = 1\na = 2",
            "a = nan",
            f"a = {1 << 70}",
            "a" + ".a" * 20000 + "=1",
            "a=" + "[" * 30000,
        ):
            with pytest.raises(LuahostError, match="not (TOML|read)|nested"):
                await called(host, "toml_parse", bad)


@in_trio
async def test_front_matter_is_read_in_both_forms_and_is_not_needed() -> None:
    async with Host() as host:
        ask = "parse_frontmatter_str"
        yaml = "---\ntitle: Ünder\nwhen: 2026-01-02\n1: one\ntags: [a, b]\n---\nBody\n---\nmore"
        assert await called(host, ask, yaml) == {
            "ok": True,
            "frontmatter": {"title": "Ünder", "when": "2026-01-02", "1": "one", "tags": ["a", "b"]},
            "body": "Body\n---\nmore",
            "format": "yaml",
        }
        toml = await called(host, ask, "+++\r\ntitle = 'T'\r\n+++\r\nBody")
        assert (toml["frontmatter"], toml["body"], toml["format"]) == ({"title": "T"}, "Body", "toml")
        assert (await called(host, ask, "\ufeff---\na: 1\n--- \nB"))["body"] == "B"
        far = "---\n" + "\n" * 7_000_000 + "---\n"
        assert (await called(host, ask, far))["error_kind"] == "too_large"
        for text in (far[:-5], "no fence", "---\nnever: closed", "", "----\na: 1\n---\n"):
            assert await called(host, ask, text) == {"ok": True, "body": text}


BOMBS = {
    "laughs": "a: &a [x, x]\n"
    + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True)),
    "a cycle": "a: &a [*a]",
    "depth": "a: " + "[" * 5000,
    "depth in blocks": "\n".join(" " * i + "a:" for i in range(200)),
    "nodes": "a: [" + "1," * 30000 + "1]",
    "a python object": "a: !!python/object/apply:os.system ['touch /tmp/luahost-was-here']",
    "a long number": "a: " + "9" * 60000,
    "a tag": "a: !unknown x",
    "infinity": "a: .inf",
    "nothing closed": "a: 'b",
    "too long": "a: " + "x" * 70000,
    "a list as a key": "? [a, b]\n: c",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_yaml_costs_more_than_its_length_or_makes_anything_but_values(name: str) -> None:
    @in_trio
    async def test() -> None:
        async with Host() as host:
            began = time.process_time()
            told = await called(host, "parse_frontmatter_str", f"---\n{BOMBS[name]}\n---\nbody")
            assert told["ok"] is False and told["error_kind"] in ("parse_error", "too_large"), told
            assert time.process_time() - began < 1
        assert not os.path.exists("/tmp/luahost-was-here")

    test()


@pytest.mark.alone
@in_trio
async def test_who_is_cancelled_does_not_wait_for_a_document_to_be_read() -> None:
    slow = "---\na: " + "1:" * 30000 + "1\n---\n"
    async with Host() as host:
        vm = await host.load(Source(CALL))
        began = time.perf_counter()
        await vm.run(["parse_frontmatter_str", slow])
        whole_s = time.perf_counter() - began
        await trio.sleep(4 * whole_s)  # what the last one costs
        began = time.perf_counter()
        with trio.move_on_after(0.02) as scope:
            await vm.run(["parse_frontmatter_str", slow])
        assert scope.cancelled_caught and time.perf_counter() - began < max(0.1, whole_s / 2)


@in_trio
async def test_a_files_front_matter_is_read_under_fs_read_and_a_fifo_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\na: 1\n---\nB")
    (tmp_path / "bytes").write_bytes(b"---\n\xff\n---\n")
    os.mkfifo(tmp_path / "fifo")
    held = [Grant("fs.read", roots=[str(tmp_path)])]
    async with Host() as host:
        assert (await called(host, "parse_frontmatter", "a.md"))["error_kind"] == "permission_denied"
        assert (await called(host, "parse_frontmatter", "a.md", grants=held))["frontmatter"] == {"a": 1}
        for path, kind in (
            ("fifo", "not_a_file"),
            ("../x", "path_not_allowed"),
            ("no", "not_found"),
            ("bytes", "parse_error"),
        ):
            assert (await called(host, "parse_frontmatter", path, grants=held))["error_kind"] == kind, path


@pytest.mark.alone
@in_trio
async def test_a_script_that_reads_yaml_without_end_leaves_the_host_to_others() -> None:
    busy = "return function() local y = '---\\na: [' .. ('1,'):rep(9000) .. '1]\\n---\\n' while true do orcs.parse_frontmatter_str(y) end end"
    async with Host() as host:
        greedy = await host.load(Source(busy))
        honest = await host.load(Source(CALL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ignoring, greedy)
            await trio.sleep(0.3)
            used = time.process_time()
            began = time.perf_counter()
            assert (await honest.run(["toml_parse", "a = 1"])) == {"a": 1}
            assert time.perf_counter() - began < 2
            await trio.sleep(1.0)
            share = (time.process_time() - used) / (time.perf_counter() - began)
            nursery.cancel_scope.cancel()
        assert share < 0.6, f"the host's CPU was used at {share:.0%}"


async def _ignoring(vm: Any) -> None:
    await vm.run(None)


@in_trio
async def test_uuids_are_of_version_4_and_differ() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function() return {orcs.uuid(), orcs.uuid()} end"))
        one, two = await vm.run()
        assert one != two and one[14] == "4" and len(one) == 36


# ── code that is evaluated ──────────────────────────────────────────────────────────────────────────────


@in_trio
async def test_code_is_evaluated_apart_and_cannot_reach_back() -> None:
    script = """
      x = 1
      local function ev(code) return orcs.sandbox_eval(code) end
      return function()
        local got = { ev("print('hi') orcs.output('there') return 1 + 1") }
        ev("x = 2 string.poison = 1 rawset(_G, 'orcs', nil) getmetatable('').__index = {}")
        ev("setmetatable(_G, {__index = function() return 9 end})")
        got[2] = { x = x, poison = string.poison == nil, y = y == nil, rep = ("a"):rep(2) }
        got[3] = ev("return orcs.read('README.md')").result.error_kind
        got[4] = ev("return orcs.sandbox_eval('return 1')").result.error_kind
        got[5] = ev("error('no ' .. 'good')")
        got[6] = ev("return )")
        got[7] = ev("return print")
        got[8] = ev("return require('os')")
        return got
      end"""
    async with Host() as host:
        vm = await host.load(Source(script), grants=[Grant("fs.read", roots=["."])])
        got = await vm.run()
        assert got[0] == {"ok": True, "output": "hi\nthere\n", "result": 2}
        assert got[1] == {"x": 1, "poison": True, "y": True, "rep": "aa"}
        assert got[2:4] == ["permission_denied", "not_supported"]
        assert "no good" in got[4]["error"] and got[4]["ok"] is False
        assert all(each["ok"] is False and each["output"] == "" for each in got[5:])
        assert not vm.children and len(host.tree()) == 1


ENDLESS = {
    "spins": "while true do end",
    "spins in pcall": "while true do pcall(function() while true do end end) end",
    "fills the heap": "local t = {} while true do t[#t + 1] = ('x'):rep(1000) end",
    "sleeps": "orcs.sleep(1e6)",
    "floods": "while true do print(('x'):rep(1000)) end",
    "matches": "(('a'):rep(300)):find(('.-'):rep(30) .. 'b')",
    "is too long": "return '" + "x" * 70000 + "'",
    "returns much": "return ('x'):rep(2 << 20)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_code_that_never_ends_is_ended_and_the_script_goes_on(name: str) -> None:
    @in_trio
    async def test() -> None:
        async with Host() as host:
            vm = await host.load(Source(CALL))
            began = time.perf_counter()
            told = await vm.run(["sandbox_eval", ENDLESS[name]])
            assert told["ok"] is False and len(told["output"]) <= 32 * 1024, told
            assert time.perf_counter() - began < 8
            assert await vm.run(["hash", ""])

    test()


@in_trio
async def test_evaluations_at_once_are_one_process_for_a_vm() -> None:
    script = """
      local fs = {}
      for i = 1, 200 do fs[i] = function() return orcs.sandbox_eval('return ' .. i).result end end
      return function() return orcs.all(fs) end"""
    async with Host() as host:
        vm, most = await host.load(Source(script)), 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, len(host._pool.worker_pids))
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            assert await vm.run() == list(range(1, 201))
            nursery.cancel_scope.cancel()
        assert most <= 3, "its own, the one that evaluates, and the one that is going"


@in_trio
async def test_what_evaluated_code_uses_is_the_scripts_own_cpu() -> None:
    script = "return function() while true do orcs.sandbox_eval('while true do end') end end"
    async with Host() as host:
        vm = await host.load(Source(script), limits=Limits(cpu_s=0.3))
        with pytest.raises(Exhausted) as told:
            await vm.run()
        assert told.value.limit == "cpu_s"


@in_trio
async def test_loaded_lua_runs_as_the_script_and_raises() -> None:
    script = """
      y = 3
      return function()
        local ok, why = pcall(orcs.load_lua, "return )", "bad.lua")
        local raised, what = pcall(orcs.load_lua, "error('x')", "raises.lua")
        return { orcs.load_lua("return y + 1"), orcs.load_lua("return {id = 'a'}").id, why, what }
      end"""
    async with Host() as host:
        vm = await host.load(Source(script))
        four, a, why, what = await vm.run()
        assert (four, a) == (4, "a") and why.startswith("bad.lua:1:") and what == "raises.lua:1: x"


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """return {id = "c", run = function(n) orcs.emit_event("Work", "done", {n = n})
  return {mine = #orcs.board_recent(), alive = orcs.is_alive(""), other = orcs.is_alive("top")} end}"""


@in_trio
async def test_a_vm_sees_its_own_events_and_those_from_below_and_no_others() -> None:
    script = f"""
      local script = [[{CHILD}]]
      return function()
        orcs.emit_event("Mine", "begun")
        local seen = {{}}
        for i = 1, 2 do
          orcs.spawn_child {{ id = "c" .. i, script = script }}
          seen[i] = orcs.send_to_child("c" .. i, i).result
        end
        return {{ seen, orcs.board_recent(10), orcs.is_alive("c1"), orcs.is_alive("c9"), orcs.board_recent(1) }}
      end"""
    async with Host() as host:
        vm = await host.load(Source(script), name="top", grants=[Grant("spawn")])
        other = await host.load(Source("return function() return #orcs.board_recent() end"))
        seen, board, alive, never, last = await vm.run()
        assert [each["mine"] for each in seen] == [1, 1] and not any(each["other"] for each in seen)
        assert [(each["source"]["name"], each["category"]) for each in board] == [
            ("top", "Mine"),
            ("top/c1", "Work"),
            ("top/c2", "Work"),
        ]
        assert board[1]["payload"] == {"n": 1} and last == board[-1:]
        assert (alive, never) == (True, False)
        assert await other.run() == 0, "another tree's events are not seen"


@in_trio
async def test_no_key_is_on_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-0123456789")
    provider = Provider(name="mine", base_url="http://127.0.0.1:1", model="m", key_env="MY_KEY")
    async with Host(Config(providers={"mine": provider}, provider="mine")) as host:
        script = "return function(k) orcs.emit_event('a', 'b', {k = 'it is ' .. k}) return orcs.board_recent() end"
        board = await (await host.load(Source(script))).run("sk-secret-0123456789")
        assert board[0]["payload"] == {"k": "it is ***"}


def test_a_flood_of_events_takes_a_boards_room_and_no_more() -> None:
    top = Board()
    below = Board(top)
    for number in range(5000):
        below.put({"n": number}, 2000)
    assert len(top.last(10**9)) == len(below.last(10**9)) == MAX_BYTES // 2000
    for number in range(5000):
        below.put({"n": number}, 10)
    assert len(top.last(10**9)) == MAX_EVENTS and top.last(1) == [{"n": 4999}] and top.last(0) == []


@in_trio
async def test_what_is_too_large_is_no_event_and_levels_are_told() -> None:
    said: list[tuple[str, str]] = []
    script = """return function()
      orcs.output_with_level("careful", "warn")
      return { orcs.emit_event("a", "b", ("x"):rep(20000)), orcs.emit_event("a", "b", "x"), pcall(orcs.emit_event, "a", "b", print) }
    end"""
    async with Host(output=lambda vm, kind, text: said.append((kind, text))) as host:
        got = await (await host.load(Source(script))).run()
        assert got[:3] == [False, True, False] and "bad argument #3" in got[3]
    assert said == [("log.warn", "careful")]


@in_trio
async def test_a_vm_that_asks_to_stop_is_closed_when_its_run_is_done() -> None:
    async with Host() as host:
        vm = await host.load(
            Source("return {run = function() orcs.request_stop() orcs.sleep(0.01) return 'done' end}")
        )
        assert await vm.run() == "done"
        with trio.fail_after(2):
            await vm._gone.wait()
        assert host.tree() == []


def test_limits_of_an_evaluation_are_at_most_the_scripts() -> None:
    from luahost.ops.evaluate import _limits

    small = Limits(memory_bytes=2 << 20, cpu_s=0.01, value_bytes=4096)
    assert (_limits(small).memory_bytes, _limits(small).cpu_s, _limits(small).value_bytes) == (2 << 20, 0.01, 4096)
