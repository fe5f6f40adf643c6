"""The floor of Lua: the same work in a sealed VM, in bare lupa, and in bare lupa under the same count hook: in one process,
in turns.

The hook is what makes a script killable; what a script pays beyond it is the price of the guarded libraries. First work as
scripts do it, then one function at a time, on the sizes that scripts have: a line, a paragraph, a list of twenty.
"""

from __future__ import annotations

import time
from typing import Any

import lupa.lua54 as lupa
from figures import Figure, Report, digits

from luahost.values import Limits
from luahost.vm import protocol
from luahost.vm.machine import opened

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
LINE = "local line = 'Content-Type: text/html; charset=utf-8'"
PARAGRAPH = (
    "local text = ('The quick brown fox jumps over the lazy dog, and nobody in the village asks why. '):rep(8) .. "
    "'Then a needle = 42 was found.'"
)
LIST = "local list = {} for i = 1, 20 do list[i] = 'item ' .. i end"
NUMBERS = "local x, list = 7, {} for i = 1, 100 do x = x * 1103515245 + 12345 & 0x7fffffff list[i] = x end"
BY_FIELD = (
    NUMBERS
    + " for i = 1, 100 do list[i] = { key = list[i] } end local function less(a, b) return a.key < b.key end"
)
ON_A_COPY = "table.move(list, 1, 100, 1, {})"
FUNCTIONS: dict[
    str, tuple[str, str, float, int]
] = {  # name → what is there, one call, the target, calls of n are one
    "find": (PARAGRAPH, "r = text:find('(%a+) = (%d+)')", 1.3, 20),
    "find, plain": (PARAGRAPH, "r = text:find('needle', 1, true)", 1.3, 1),
    "match": (LINE, "r = line:match('^([%w%-]+):%s*(.-)$')", 1.3, 1),
    "gmatch": (PARAGRAPH, "for word in text:gmatch('%a+') do r = word end", 1.3, 20),
    "gsub": (LINE, "r = line:gsub('[^%w]+', '-')", 1.3, 1),
    "gsub, by a table": (PARAGRAPH + " local to = { fox = 'cat' }", "r = text:gsub('%a+', to)", 1.3, 20),
    "gsub, by a function": (PARAGRAPH + " local function to(w) return w end", "r = text:gsub('%a+', to)", 0, 20),
    "format": ("", "r = string.format('%d: %s took %5.2f s', i, 'request', 1.5)", 1.3, 1),
    "rep": ("", "r = ('-'):rep(72)", 1.3, 1),
    "sub": (LINE, "r = line:sub(15, 23)", 1.3, 1),
    "upper": (PARAGRAPH, "r = text:upper()", 1.3, 1),
    "concat": (LIST, "r = table.concat(list, ', ')", 1.3, 1),
    "insert": ("local list = {}", "table.insert(list, i)", 1.3, 1),
    "insert, in front": (LIST, "table.insert(list, 1, 'x') list[21] = nil", 1.3, 1),
    "remove": ("local list = {} for i = 1, n do list[i] = i end", "r = table.remove(list)", 1.3, 1),
    "unpack": (LIST, "r = table.unpack(list)", 1.3, 1),
    "move": (NUMBERS, "r = " + ON_A_COPY, 1.3, 5),
    "sort": (NUMBERS, f"r = {ON_A_COPY} table.sort(r)", 1.3, 100),
    "sort, by a function": (BY_FIELD, f"r = {ON_A_COPY} table.sort(r, less)", 2.0, 100),
    "tostring": ("", "r = tostring(i)", 0, 1),
    "setmetatable": ("local class = { __index = {} }", "r = setmetatable({}, class)", 0, 1),
    "pcall": ("local function f(x) return x end", "r = pcall(f, i)", 0, 1),
    "coroutine": ("local f = coroutine.wrap(function() while true do coroutine.yield(1) end end)", "r = f()", 0, 1),
}
# The same look at the clock, as often, as in lua/boot/kill.lua.
HOOK = b"""
local clock, killed, deadline = os.clock, false, os.clock() + 1e6
debug.sethook(function() if killed or clock() > deadline then error("killed") end end, "", 1000)
"""
GROUPS = (
    ("ordinary string work in the sandbox", STRINGS, 1.3),
    ("ordinary table work in the sandbox", TABLES, 1.3),
    ("ordinary pattern work in the sandbox", PATTERNS, 1.3),
    ("tight loops in the sandbox", LOOPS, 2.5),
)


class _Sealed:
    """A script in a sealed VM, as a function."""

    def __init__(self, body: str) -> None:
        self._machine = opened(Limits(cpu_s=10_000, memory_bytes=1 << 30))
        self._done(self._machine.load(f"return function(n) {body} end".encode()))

    def __call__(self, n: int) -> Any:
        return self._done(self._machine.start("run", n))

    @staticmethod
    def _done(wants: list[protocol.Want]) -> Any:
        done = wants[0]
        assert isinstance(done, protocol.Done), done
        return protocol.decode(done.value)


def measure(report: Report, *, quick: bool) -> None:
    n, rounds = (2000, 3) if quick else (20_000, 11)
    for group, snippets, most in GROUPS:
        ratios = {name: _ratios(report, name, body, n, rounds) for name, body in snippets.items()}
        figure, hook = (Figure(pair[at] for pair in ratios.values()) for at in (0, 1))
        what = f"{group} ÷ bare lupa, median of {len(ratios)} kinds"
        measured = f"{digits(figure.median)} × ({digits(hook.median)})"
        report.row(what, measured, f"≤ {most:g} ×", figure.median <= most)
        report.row("    " + ", ".join(ratios), ", ".join(digits(each) for each, _ in ratios.values()) + " ×")
    report.row("one function ÷ bare lupa (in brackets, here and above: bare lupa under the hook alone)", "")
    for name, (there, call, most, share) in FUNCTIONS.items():
        body = f"local r {there} for i = 1, n do {call} end return 1"
        ratio, hook = _ratios(report, name, body, n // share, rounds)
        measured = f"{digits(ratio)} × ({digits(hook)})"
        report.row(f"    {name}", measured, f"≤ {most:g} ×" if most else "", ratio <= most if most else None)


def _ratios(report: Report, name: str, body: str, n: int, rounds: int) -> tuple[float, float]:
    """What `body` takes in a sealed VM, and in bare lupa with the hook, each divided by what it takes in bare lupa."""
    code = f"return function(n) {body} end".encode()
    bare = lupa.LuaRuntime(encoding=None).execute(code)
    hooked_runtime = lupa.LuaRuntime(encoding=None)
    hooked_runtime.execute(HOOK)
    hooked, sealed = hooked_runtime.execute(code), _Sealed(body)
    report.expect(bare(n) == sealed(n), f"{name}: another result than bare lupa's")
    times: dict[Any, list[float]] = {bare: [], hooked: [], sealed: []}
    for _ in range(rounds):
        for act, taken in times.items():
            began = time.process_time()
            act(n)
            taken.append(time.process_time() - began)
    base = Figure(times[bare]).median
    return Figure(times[sealed]).median / base, Figure(times[hooked]).median / base
