"""Hooks look and deny, and allow nothing; runners are children with caps."""

from __future__ import annotations

from typing import Any

from trio_tests import in_trio

from luahost import Grant, Host, Limits, Source


async def run(script: str, *grants: Grant, **limits: Any) -> Any:
    async with Host() as host:
        vm = await host.load(Source(script), grants=grants, limits=Limits(**limits))
        return await vm.run()


READ = Grant("fs.read", roots=["."])


@in_trio
async def test_a_hook_sees_what_is_sent_and_what_came_and_cannot_change_either() -> None:
    script = """
      local seen = {}
      local function look(c)
        seen[#seen + 1] = c.hook_point .. " " .. c.operation .. " " .. tostring(c.payload.path or c.payload.ok)
        c.payload.path, c.payload.ok = "/etc/passwd", false
      end
      orcs.hook("*::*:tool.pre_execute", look)
      orcs.hook("builtin::read:tool.post_execute", look)
      return function()
        local got = orcs.read("pyproject.toml")
        return { got.ok, #got.content > 100, seen }
      end"""
    assert await run(script, READ) == [
        True,
        True,
        ["tool.pre_execute read pyproject.toml", "tool.post_execute read true"],
    ]


@in_trio
async def test_a_hook_denies_by_saying_so_by_failing_and_by_answering_nonsense_and_is_unhooked() -> None:
    script = """
      local said = {}
      local function try(handler)
        local hook = orcs.hook({ fql = "*::read", point = "tool.pre_execute", handler = handler })
        local got = orcs.read("pyproject.toml")
        said[#said + 1] = { got.ok, got.error_kind or "", (got.error or ""):match("hook%-%d+: (.*)") or "" }
        assert(orcs.glob("*.toml").ok)
        assert(orcs.unhook(hook.id).ok and not orcs.unhook(hook.id).ok)
      end
      return function()
        try(function() return { action = "deny", reason = "not today" } end)
        try(function() return { action = "abort" } end)
        try(function() error("broken") end)
        try(function() return { action = "replace", payload = {} } end)
        try(function() return { action = "allow" } end)
        try(function(c) return c end)
        try(function() return { action = "continue" } end)
        try(function() end)
        return said
      end"""
    said = await run(script, READ)
    assert [each[:2] for each in said] == [[False, "hook_denied"]] * 5 + [[True, ""]] * 3
    assert said[0][2] == "not today" and "broken" in said[2][2] and "a hook may continue or deny" in said[3][2]


@in_trio
async def test_no_hook_allows_what_the_grant_does_not() -> None:
    script = """
      for _, answer in ipairs { { action = "allow" }, { action = "continue" }, { ok = true } } do
        orcs.hook("*::*:tool.post_execute", function() return answer end)
      end
      orcs.hook("*::*:tool.pre_execute", function(c) c.payload.path = "pyproject.toml" return { action = "continue", allow = true } end)
      return function() return { orcs.read("../x").error_kind, orcs.write("x", "y").error_kind, orcs.llm("hi").error_kind } end"""
    assert await run(script, READ) == ["path_not_allowed", "permission_denied", "permission_denied"]
    assert await run(script) == ["permission_denied"] * 3


@in_trio
async def test_hooks_that_call_are_hooked_four_deep_and_one_that_loops_uses_up_the_scripts_cpu() -> None:
    deep = """
      local deepest = 0
      orcs.hook("*::*:tool.pre_execute", function(c)
        deepest = math.max(deepest, c.depth)
        local got = orcs.read("pyproject.toml")
        if not got.ok then return { action = "deny", reason = got.error } end
      end)
      return function() local got = orcs.read("pyproject.toml") return { deepest, got.ok, got.error:find("deeper than 4") ~= nil } end"""
    assert await run(deep, READ) == [4, False, True]
    loops = """orcs.hook("*::*:tool.pre_execute", function() while true do pcall(function() while true do end end) end end)
      return function() return orcs.read("x") end"""
    from luahost import Exhausted

    try:
        await run(loops, READ, cpu_s=0.2)
    except Exhausted as error:
        assert error.limit == "cpu_s"
    else:
        raise AssertionError("it went on")


@in_trio
async def test_hooks_of_many_strands_do_not_count_as_nested_and_are_asked_in_order() -> None:
    script = """
      local order = {}
      for _, p in ipairs { 30, 10, 20 } do
        orcs.hook({ point = "tool.pre_execute", priority = p, handler = function() order[#order + 1] = p orcs.sleep(0.001) end })
      end
      return function()
        local first = orcs.read("pyproject.toml").ok
        local list = table.move(order, 1, 3, 1, {})
        local fs = {}
        for i = 1, 20 do fs[i] = function() return orcs.read("pyproject.toml").ok end end
        return { first, list, orcs.all(fs) }
      end"""
    assert await run(script, READ) == [True, [10, 20, 30], [True] * 20]


@in_trio
async def test_wrong_hooks_are_told_and_a_childs_hooks_are_its_own() -> None:
    script = """
      local function kind(...) return orcs.hook(...).detail.field end
      orcs.hook({ id = "mine", point = "tool.pre_execute", handler = function() return { action = "deny" } end })
      local child = [[return { id = "c", run = function()
        return { orcs.unhook("mine").error_kind, orcs.read("pyproject.toml").ok, orcs.hook({ id = "mine", point = "tool.pre_execute", handler = function() end }).ok }
      end }]]
      return function()
        orcs.unhook("mine")
        orcs.spawn_child { id = "c", script = child, caps = "inherit" }
        orcs.hook({ id = "mine", point = "tool.pre_execute", handler = function() return { action = "deny" } end })
        local told = orcs.send_to_child("c", 1).result
        return { kind("x", print), kind({ point = "child.pre_run", handler = print }), kind({ point = "tool.pre_execute" }),
          kind({ point = "tool.pre_execute", handler = print, allow = true }), kind({ fql = "*::log", point = "tool.pre_execute", handler = print }),
          kind({ id = "mine", point = "tool.pre_execute", handler = print }), pcall(orcs.hook, "a::*:tool.pre_execute"), told }
      end"""
    got = await run(script, READ, Grant("spawn"))
    assert got[:6] == ["point", "point", "handler", "allow", "fql", "id"] and got[6] is False
    assert got[-1] == ["not_found", True, True], "a child neither sees nor takes away its parent's hooks"


@in_trio
async def test_a_runner_is_a_child_with_its_globals_and_the_caps_it_is_given() -> None:
    script = """
      local text = [[return { id = "r", run = function() return { name or "nobody", orcs.read("pyproject.toml").ok, orcs.llm("x").error_kind } end }]]
      return function()
        local one = orcs.spawn_runner { script = text, globals = { name = "Ada" } }
        local two = orcs.spawn_runner { id = "two", script = text, caps = { ["fs.read"] = true } }
        local wide = orcs.spawn_runner { script = text, caps = { llm = true } }
        return { one.channel_id == one.id, one.fqn:match("[^/]+$") == one.id, orcs.send_to_child(one.id).result, orcs.send_to_child("two").result,
          wide.error_kind, orcs.spawn_runner({ builtin = "echo.lua" }).detail.field, orcs.is_alive("two") }
      end"""
    got = await run(script, READ, Grant("spawn"))
    assert got[:2] == [True, True]
    assert got[2] == ["Ada", False, "permission_denied"] and got[3] == ["nobody", True, "permission_denied"]
    assert got[4:] == ["capability_widening", "script", True]
