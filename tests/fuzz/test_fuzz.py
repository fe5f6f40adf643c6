"""Every fuzz target for a moment: LUAHOST_FUZZ_S seconds (1), or a part of it. `make fuzz SECONDS=n` gives them more."""

from __future__ import annotations

import os
import time
from random import Random

import lupa.lua54 as lua
import pytest
from finding import Finding
from mutated import WALK
from mutating import ByteTarget
from targets import TARGETS

SECONDS = float(os.environ.get("LUAHOST_FUZZ_S", "1"))
BYTES_SHARE = 0.3
"""Targets of bytes do thousands of executions in a second; they are given this part of it."""


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzz_target_finds_nothing(name: str) -> None:
    rng = Random(f"{os.environ.get('LUAHOST_FUZZ_SEED', '1')}/{name}")
    share = BYTES_SHARE if isinstance(TARGETS[name], ByteTarget) else 1.0
    assert TARGETS[name](rng, time.monotonic() + share * SECONDS) > 0


@pytest.mark.parametrize(
    "planted",
    [
        "G.x = leak",
        "G[leak] = 1",
        "return leak",
        "G.t = {{{leak}}}",
        "setmetatable(string, {__index = {leak}})",
        "G.s = leak",
    ],
)
def test_the_walk_finds_what_is_planted(planted: str) -> None:
    vm = lua.LuaRuntime()
    text = f"{WALK} local G, leak = _G, ... local r = pack((function() {planted} end)()) return walk(unpack(r, 1, r.n))"
    walked = vm.execute("python, package, io = nil return function(f, x) return select(2, pcall(f, x)) end")
    assert "FOUND" in walked(
        vm.compile(text), "Traceback (most recent call last)" if "G.s" in planted else object()
    )
    vm.execute(
        "x, t, s = nil setmetatable(string, nil) for k in pairs(_G) do if type(k) ~= 'string' then _G[k] = nil end end"
    )
    assert walked(vm.compile(text), 7) == "clean"


def test_a_finding_shows_its_input() -> None:
    assert "while" in str(Finding("late", "while true do end")) and "00ff" in str(Finding("odd", b"\x00\xff"))


def test_a_check_that_fails_is_a_finding_with_its_input() -> None:
    def check(data: bytes) -> None:
        assert b"\xff" not in data, "a byte too many"

    target = ByteTarget(check, lambda: [b"harmless"])
    with pytest.raises(Finding, match="a byte too many") as caught:
        target(Random(1), time.monotonic() + 5)
    assert caught.value.executions > 0
