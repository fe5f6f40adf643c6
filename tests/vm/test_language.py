"""Lua is still Lua inside the sealed VM: what scripts written elsewhere rely on."""

from __future__ import annotations

import pytest
from test_machine import Vm


def test_a_call_that_returns_nothing_returns_nothing_through_every_wrapper() -> None:
    body = """
      local function nothing() end
      local n = {select('#', pcall(nothing)), select('#', xpcall(nothing, print))}
      n[3] = select('#', coroutine.resume(coroutine.create(nothing)))
      n[4] = select('#', coroutine.wrap(nothing)())
      local co = coroutine.wrap(function() coroutine.yield() coroutine.yield(nil) end)
      n[5], n[6], n[7] = select('#', co()), select('#', co()), select('#', co())
      return n"""
    assert Vm().run(body) == [1, 1, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ("load('x x')", '[string "x x"]:1:'),
        ("load('local a\\n= = 1')", '[string "local a..."]:2:'),
        ("load('x x', '=mine')", "mine:1:"),
        ("load('x x', '@mine.lua')", "mine.lua:1:"),
        ("load('x x', 'mine')", '[string "mine"]:1:'),
        ("load('x x', 'a\\27[2Jb')", '[string "a?[2Jb"]:1:'),
        ("load(coroutine.wrap(function() coroutine.yield('x x') end))", "(load):1:"),
    ],
)
def test_a_loaded_chunk_has_the_name_lua_gives_it(load: str, message: str) -> None:
    assert Vm().run(f"return select(2, {load})").startswith(message)


def test_the_collector_answers_and_does_nothing() -> None:
    body = """
      local r = {collectgarbage(), collectgarbage('step'), collectgarbage('isrunning'), collectgarbage('generational')}
      r[5] = collectgarbage('count') > 10
      r[6] = select(2, pcall(collectgarbage, 'nooption'))
      return r"""
    wanted = "bad argument #1 to 'collectgarbage' (invalid option 'nooption')"
    assert Vm().run(body) == [0, True, True, "incremental", True, wanted]
