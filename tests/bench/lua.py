"""The floor of Lua: the same work in a sealed VM and in bare lupa, in one process, in turns."""

from __future__ import annotations

import time
from typing import Any

import lupa.lua54 as lupa
from figures import Figure, Report, digits

from luahost.values import Limits
from luahost.vm import frames
from luahost.vm.machine import Machine, open_spec

STRINGS = {
    "format": "local t = 0 for i = 1, n do t = t + #string.format('%d:%s:%5.2f', i, 'x', i / 3) end return t",
    "build": "local t = {} for i = 1, n do t[i] = 'item ' .. i end return #table.concat(t, ', ')",
    "cut": "local s, t = ('abcdefghij'):rep(100), 0 for i = 1, n do t = t + #s:sub(i % 900, i % 900 + 20):upper() end return t",
    "bytes": "local s, t = ('abcdefghij'):rep(100), 0 for i = 1, n do t = t + s:byte(i % 1000 + 1) end return t",
}
TABLES = {
    "fill": "local t = {} for i = 1, n do t[#t + 1] = { id = i, name = 'n' } end return #t",
    "insert": "local t = {} for i = 1, n do table.insert(t, i) end local s = 0 while #t > 0 do s = s + table.remove(t) end return s",
    "walk": "local t, s = {}, 0 for i = 1, 100 do t['k' .. i] = i end for _ = 1, n // 100 do for k, v in pairs(t) do s = s + v end end return s",
    "sort": "local t, x = {}, 7 for i = 1, n // 4 do x = x * 1103515245 + 12345 & 0x7fffffff t[i] = x end table.sort(t) return t[1]",
    "sort by": "local t, x = {}, 7 for i = 1, n // 8 do x = x * 1103515245 + 12345 & 0x7fffffff t[i] = x end table.sort(t, function(a, b) return a > b end) return t[1]",
}
PATTERNS = {
    "find plain": "local s, t = ('lorem ipsum '):rep(50) .. 'needle', 0 for i = 1, n // 4 do t = t + s:find('needle', 1, true) end return t",
    "find": "local s, t = ('lorem ipsum '):rep(5) .. 'key=42', 0 for i = 1, n // 8 do t = t + s:find('(%w+)=(%d+)') end return t",
    "match": "local t = 0 for i = 1, n do local a, b = ('key' .. i .. '=value'):match('^(%w+)=(%w+)$') t = t + #a end return t",
    "gmatch": "local s, t = ('the quick brown fox '):rep(20), 0 for i = 1, n // 50 do for w in s:gmatch('%a+') do t = t + #w end end return t",
    "gsub": "local s, t = ('a b c '):rep(20), 0 for i = 1, n // 20 do t = t + #(s:gsub('%s+', '-')) end return t",
    "gsub by": "local s, t = ('a b c '):rep(20), 0 for i = 1, n // 40 do t = t + #(s:gsub('%a', function(c) return c .. c end)) end return t",
}
LOOPS = {
    "count": "local t = 0 for i = 1, n * 20 do t = t + i % 7 end return t",
    "calls": "local function fib(k) if k < 2 then return k end return fib(k - 1) + fib(k - 2) end return fib(n > 5000 and 22 or 16)",
    "sieve": "local m, c = n * 2, 0 local p = {} for i = 2, m do if not p[i] then c = c + 1 for j = i * i, m, i do p[j] = true end end end return c",
    "floats": "local x = 0.5 for i = 1, n * 10 do x = 3.9 * x * (1 - x) end return x",
}
GROUPS = (
    ("ordinary string work in the sandbox", STRINGS, 1.3),
    ("ordinary table work in the sandbox", TABLES, 1.3),
    ("ordinary pattern work in the sandbox", PATTERNS, 1.3),
    ("tight loops in the sandbox", LOOPS, 2.5),
)


class _Sealed:
    """A script in a sealed VM, as a function."""

    def __init__(self, body: str) -> None:
        self._machine = Machine().open(open_spec(Limits(cpu_s=10_000, memory_bytes=1 << 30)))
        self._done(self._machine.load(f"return function(n) {body} end".encode()))

    def __call__(self, n: int) -> Any:
        return self._done(self._machine.start("run", n))

    @staticmethod
    def _done(wants: list[frames.Want]) -> Any:
        done = wants[0]
        assert isinstance(done, frames.Done), done
        return frames.decode(done.value)


def measure(report: Report, *, quick: bool) -> None:
    n, rounds = (2000, 3) if quick else (20_000, 7)
    for group, snippets, most in GROUPS:
        ratios = {name: _ratio(report, name, body, n, rounds) for name, body in snippets.items()}
        figure = Figure(ratios.values())
        what = f"{group} ÷ bare lupa, median of {len(ratios)} kinds"
        report.row(what, f"{digits(figure.median)} ×", f"≤ {most:g} ×", figure.median <= most)
        report.row("    " + ", ".join(ratios), ", ".join(digits(each) for each in ratios.values()) + " ×")


def _ratio(report: Report, name: str, body: str, n: int, rounds: int) -> float:
    bare = lupa.LuaRuntime(encoding=None).execute(f"return function(n) {body} end".encode())
    sealed = _Sealed(body)
    report.expect(bare(n) == sealed(n), f"{name}: another result than bare lupa's")
    times: dict[Any, list[float]] = {bare: [], sealed: []}
    for _ in range(rounds):
        for act, taken in times.items():
            began = time.process_time()
            act(n)
            taken.append(time.process_time() - began)
    return Figure(times[sealed]).median / Figure(times[bare]).median
