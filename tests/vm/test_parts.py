"""Files that are loaded when they are needed: nothing is missing before, nothing shows after, and a full heap kills nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lupa.lua54 as lupa
import pytest
from test_machine import Vm

from luahost.vm import sandbox
from luahost.vm.protocol import Done, Failed
from luahost.vm.sources import BOOT, PARTS, root, source

USES = {
    "patterns": "return ('a1'):match('(%a)%d')",
    "gsub": "return (('abc'):gsub('%w', function() end))",
    "sort": "local t = {3, 1, 2} table.sort(t) return t[1]",
    "json": "return orcs.json_encode({a = 1})",
    "concurrency": "return orcs.all({function() return 1 end})[1]",
}


def test_a_vm_is_small_before_it_has_run_anything() -> None:
    vm = sandbox.Sandbox(lambda kind, text: None)
    assert vm._lua.get_memory_used() < 112_000


def test_every_lua_file_is_loaded_or_promised() -> None:
    there = {
        f"{path.parent.name}/{path.name}"
        for folder in ("boot", "std")
        for path in (Path(root()) / folder).glob("*.lua")
    }
    assert there == {*BOOT, *PARTS}


@pytest.mark.parametrize("name", USES)
def test_a_function_held_before_its_file_is_there_works_after(name: str) -> None:
    vm = Vm()
    assert vm.run(f"{USES[name]}") == vm.run(f"{USES[name]}")
    body = """
      local before = {}
      for _, lib in ipairs{'string', 'table', 'orcs'} do
        for _, name in ipairs{'find', 'gsub', 'sort', 'all', 'map', 'race', 'timeout', 'nursery', 'spawn', 'json_parse'} do
          before[#before + 1] = _G[lib][name]
        end
      end
      for i = 1, #before do
        if type(before[i]) ~= 'function' then return i end
        pcall(before[i], {}, function() end)
        pcall(before[i], {}, function() end)
      end
      return #before"""
    assert vm.run(body) == 10


def test_the_file_that_brings_require_leaves_the_scripts_globals_alone() -> None:
    vm = Vm()
    body = """
      local held = require
      require = 1
      local ok, message = pcall(held, '../x')
      return (ok or message) .. ' ' .. require"""
    assert vm.run(body) == "module name not allowed: use letters, digits, _ and - with single dots between 1"


@pytest.mark.parametrize("name", USES)
def test_a_file_that_does_not_fit_ends_the_vm_as_out_of_memory(name: str) -> None:
    """The heap is filled to some bytes below the limit, then the file is needed for the first time."""
    ends = set()
    for room in (10, 30, 50, 80, 120, 200, 400):
        vm = Vm(memory_bytes=4 << 20)
        fill = f"""
          local keep, hundred = {{}}, {{}}
          for i = 1, 100 do hundred[i] = i end
          while collectgarbage('count') < {4096 - room} do keep[#keep + 1] = {{table.unpack(hundred)}} end
          local function use() {USES[name]} end
          local used = use()
          return #keep"""
        want = vm.load(fill)
        ends.add(type(want))
        assert isinstance(want, Done) or (isinstance(want, Failed) and want.kind == b"memory"), want
    assert ends == {Done, Failed}, "both ends were to be seen"


def test_a_worker_imports_nothing_that_it_does_not_need() -> None:
    """What a zygote has in memory is what a script that broke out of Lua finds, and what each worker weighs."""
    large = {"msgspec", "trio", "httpx", "typing", "pathlib", "platform", "inspect"}
    large |= {"luahost.vm.protocol", "luahost.values"}
    code = "import sys, luahost.worker.zygote; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not large & set(told.split())


def test_a_library_whose_file_did_not_end_is_loaded_again() -> None:
    """On a full stack, say: the script may go on."""
    vm = lupa.LuaRuntime(encoding=None)
    vm.execute(
        b"""
        local K, times = { raw = { base = _G }, libs = {} }, 0
        function K.fetch() return string.dump(load("return (...).file()")) end
        function K.file()
          times = times + 1
          if times == 1 then error("stack overflow") end
          K.libs.x.there = setmetatable(K.libs.x, nil) and times
        end
        load(...)(K)
        K.libs.x = K.promised("x")
        assert(not pcall(function() return K.libs.x.there end))
        assert(K.libs.x.there == 2 and K.libs.x.there == 2 and times == 2)
        """,
        source("boot/parts.lua"),
    )
