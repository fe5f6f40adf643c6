"""find, match, gmatch and gsub answer as C does, whichever way they go, and never hold the thread.

The Lua files under test are loaded alone, with a K of our own, so that real and guarded libraries stand side
by side in one VM (`real` and `K`). What it does not test: the sandbox around them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import lupa.lua54 as lua
import pytest

BOOT = Path(__file__).resolve().parents[2] / "lua" / "boot"
FILES = ("complaints", "patterns", "strings", "tables")

CASES = int(
    os.environ.get("LUAHOST_PATTERN_CASES", "3000")
)  # generated pattern and subject pairs, for each of five seeds

SETUP = rb"""
local K = {raw = {base = {}}}
for _, name in ipairs{"string", "table", "math", "coroutine", "utf8", "debug", "os"} do
  local copy = {}
  for k, v in pairs(_G[name]) do copy[k] = v end
  K.raw[name] = copy
end
for k, v in pairs(_G) do K.raw.base[k] = v end
function K.tostring(v)
  local mt = getmetatable(v)
  if type(mt) == "table" and mt.__tostring then return mt.__tostring(v) end
  if type(v) == "table" or type(v) == "function" or type(v) == "thread" then return type(v) .. ": #1" end
  return tostring(v)
end
function K.later(t, name, file)
  local real
  t[name] = function(...)
    if not real then K.need(file) real = t[name] end
    return real(...)
  end
end
K.libs = {}
local hook
function K.look() if hook then hook() end end
real = {string = string, table = table, utf8 = utf8}
function limited(seconds, f, ...) -- pcall under a CPU hook; then the longest time between two hooks
  local clock, gap = os.clock, 0
  local start = clock()
  local last = start
  function hook()
    local now = clock()
    if now - last > gap then gap = now - last end
    last = now
    if now - start > seconds then error("KILLED", 0) end
  end
  debug.sethook(hook, "", 1000)
  local ok, why = pcall(f, ...)
  debug.sethook()
  hook = nil
  local now = clock()
  if now - last > gap then gap = now - last end
  return ok, tostring(why), now - start, gap
end
return K
"""


def machine(force_way: int | None = None, *, install: bool = True) -> Any:
    """A VM with the guarded libraries in K.libs; `install` makes them the scripts' own."""
    vm = lua.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    k = vm.execute(SETUP)
    k[b"force_way"] = force_way
    # Stripped, as a VM has them: what Lua says of them has no names and no lines.
    load = vm.eval(
        b"function(text, name, K) return load(real.string.dump(assert(load(text, name, 't')), true), name, 'b')(K) end"
    )
    there = set()

    def need(file: bytes) -> None:
        if file not in there:
            there.add(file)
            load((BOOT.parent / file.decode()).read_bytes(), b"@" + file, k)

    k[b"need"] = need
    for name in FILES:
        need(f"boot/{name}.lua".encode())
    vm.globals()[b"K"] = k
    if install:
        vm.execute(b"string, table = K.libs.string, K.libs.table")
        vm.execute(b"getmetatable('').__index = string")
        vm.execute(b"function pcall(f, ...) return xpcall(f, K.explain, ...) end")
    return vm


@cache
def _shared() -> Any:
    return machine().eval(b"function(text) return pcall(load(text, '=s')) end")


def complaint(call: bytes) -> bytes:
    """The error of one call in a script named s."""
    ok, why = _shared()(b"local r = " + call)
    assert not ok
    return why


# Random patterns, the malformed too, against random subjects: every answer and every error, beside C's.
DIFFERENTIAL = rb"""
local seed, cases, size = ...
math.randomseed(seed)
local R, P, random = real.string, K.patterns.lib, math.random
local atoms = {"a", "b", "c", ".", "%a", "%s", "%d", "%w", "%S", "[ab]", "[^a]", "[a-c]", "[%s%d]", "[]]",
  "[^]a]", "%.", " ", "1", "[a-]", "\0", "%z", "[^%w]", "x", "\xe9", "%%", "]", "-"}
local quants = {"", "", "", "*", "+", "-", "?"}
local others = {"(", ")", "()", "(", ")", "%1", "%2", "%b()", "%bab", "%f[%w]", "%f[^a]", "$", "^", "%b", "%f",
  "[", "%", "[^", "%0", "[%"}
local function pattern()
  local out = {}
  if random(6) == 1 then out[1] = "^" end
  local open = {}
  for _ = 1, random(0, 6) do
    local x = random(16)
    if x == 1 then
      out[#out + 1] = others[random(#others)]
    elseif x <= 3 then
      out[#out + 1] = "("
      open[#open + 1] = true
    elseif x <= 5 and #open > 0 then
      out[#out + 1] = ")"
      open[#open] = nil
    else
      out[#out + 1] = atoms[random(#atoms)] .. quants[random(#quants)]
    end
  end
  if random(12) > 1 then
    for _ = 1, #open do out[#out + 1] = ")" end
  end
  if random(6) == 1 then out[#out + 1] = "$" end
  return table.concat(out)
end
local letters = {"a", "a", "b", "c", " ", "1", "(", ")", ".", "\0", "x", "\xe9", "]", "-", "^"}
local function subject()
  local out = {}
  for i = 1, random(0, size) do out[i] = letters[random(#letters)] end
  return table.concat(out)
end
local replacements = {"<%0>", "%1", "x", "", "%2%1", "%%", "%", "%x", "a%9", 7, {a = "A", b = 2, [""] = "E"},
  {a = {}}, setmetatable({}, {__index = function(_, k) return "<" .. k .. ">" end}), function() return nil end,
  function(...) return select("#", ...) .. "|" .. tostring((...)) end, function() return {} end}
local function text(...)
  local t = table.pack(...)
  for i = 1, t.n do t[i] = math.type(t[i]) == "integer" and "#" .. t[i] or tostring(t[i]) end
  return (R.gsub(table.concat(t, "\1"), "table: 0x%x+", "table"))
end
local function all(gmatch, s, p, i)
  local out = {}
  for a, b, c in gmatch(s, p, i) do
    out[#out + 1] = text(a, b, c)
    if #out > 50 then break end
  end
  return table.concat(out, "\2")
end
local errors = 0
for n = 1, cases do
  local s, p = subject(), pattern()
  local i = random(3) == 1 and random(-4, size) or nil
  local r, m = replacements[random(#replacements)], random(4) == 1 and random(-1, 3) or nil
  local pairs_ = {
    {"find", text(pcall(R.find, s, p, i)), text(pcall(P.find, s, p, i))},
    {"match", text(pcall(R.match, s, p, i)), text(pcall(P.match, s, p, i))},
    {"gmatch", text(pcall(all, R.gmatch, s, p, i)), text(pcall(all, P.gmatch, s, p, i))},
    {"gsub", text(pcall(R.gsub, s, p, r, m)), text(pcall(P.gsub, s, p, r, m))},
  }
  for _, x in ipairs(pairs_) do
    if R.sub(x[2], 1, 5) == "false" then errors = errors + 1 end
    if x[2] ~= x[3] then
      error(R.format("%s(%q, %q, %s) repl %s max %s: C %q, ours %q", x[1], s, p, i, r, m, x[2], x[3]), 0)
    end
  end
end
return errors
"""


@pytest.mark.parametrize(
    ("way", "seed", "size"), [(None, 1, 12), (None, 2, 30), (2, 3, 12), (3, 4, 12), (3, 5, 24)]
)
def test_every_way_answers_as_c_does(way: int | None, seed: int, size: int) -> None:
    vm = machine(way, install=False)
    run = vm.eval(b"function(text, ...) return assert(load(text))(...) end")
    errors = run(DIFFERENTIAL, seed, CASES, size)
    assert errors > 200  # the malformed were among them


def test_long_subjects_find_the_same() -> None:
    vm = machine(install=False)
    vm.execute(
        rb"""
        local R, P = real.string, K.patterns.lib
        local line = "The quick brown fox = jumps over; key=value, 12.5 (and (more)) `code`\n"
        local s = R.rep(line, 400) .. "   " .. R.rep("tail ", 50) .. "   "
        for _, p in ipairs{"%s+$", "^%s*(.-)%s*$", "(%w+)=(%w+)", "(%w+)%s*=%s*(%w+)", "[^\n]*\n?", "%b()",
            "%f[%w]%w+", "(.-)\n", "%d+%.%d*", "`(.-)`", "()x()", "%w+==", "(%a)%1", ".-12", "%s*$",
            "[%w_]+%s*;", "k%w*=%w-,"} do
          for _, i in ipairs{1, 5000, -300} do
            assert(table.concat({R.find(s, p, i)}, "|") == table.concat({P.find(s, p, i)}, "|"), p)
            assert(table.concat({R.match(s, p, i)}, "|") == table.concat({P.match(s, p, i)}, "|"), p)
          end
          local a, b = {}, {}
          for x, y in R.gmatch(s, p) do a[#a + 1] = x .. "|" .. (y or "") end
          for x, y in P.gmatch(s, p) do b[#b + 1] = x .. "|" .. (y or "") end
          assert(table.concat(a, "\0") == table.concat(b, "\0"), p)
          for _, r in ipairs{"<%0>", "", function(x) return x and "[" .. x .. "]" end} do
            local x, m = R.gsub(s, p, r)
            local y, n = P.gsub(s, p, r)
            assert(x == y and m == n, p)
          end
        end
        """
    )


# 179's pattern attacks, and some more; each held C for seconds to for ever.
ATTACKS = {
    "lazy chain": rb"return ('a'):rep(40):find((('.-'):rep(20)) .. 'b')",
    "optional chain": rb"return ('a'):rep(32):find(('a?'):rep(32) .. ('a'):rep(32) .. 'b')",
    "lazy to the end": rb"return ('a'):rep(100000):find('.-b')",
    "right trim": rb"return (((' '):rep(1000000) .. 'x'):gsub('%s+$', ''))",
    "three lazy": rb"return ('a'):rep(20000):gsub('.-.-.-b', '')",
    "balance": rb"return ('('):rep(200000):find('%b()')",
    "a large set": rb"return ('a'):rep(1000000):find('[' .. ('b'):rep(100000) .. ']')",
    "sets of a new name": rb"for i = 1, 1e9 do ('a'):find('[' .. ('b'):rep(100000) .. i .. ']') end",
    "back reference": rb"return ('a'):rep(20000):find('(a*)%1b')",
    "plain": rb"return ('a'):rep(4000000):find(('a'):rep(2000000) .. 'b', 1, true)",
    "plain by default": rb"return ('a'):rep(4000000):find(('a'):rep(2000000) .. 'b')",
    "gmatch": rb"for w in ('a'):rep(2000000):gmatch('.-b') do end",
    "many short": rb"local s = ('a'):rep(1500) while true do s:find('%w+=') end",
    "many middling": rb"local s = ('a'):rep(30000) while true do s:find('%w+=') s:gsub('(%w+)=', 'x') end",
    "nested gsub": rb"local s = ('a'):rep(3000) local function f() return s:gsub('a', f) end f()",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_when_the_time_is_over(name: str) -> None:
    vm = machine()
    ok, why, seconds, gap = vm.eval(b"function(text) return limited(0.1, load(text)) end")(ATTACKS[name])
    assert ok or why in (b"KILLED", b"pattern too complex") or b"stack overflow" in why
    assert seconds < 0.35
    assert gap < 0.25


def test_gmatch_on_a_deep_pattern_does_not_crash() -> None:
    vm = machine()
    vm.execute(b"it = string.gmatch(('a'):rep(300000), ('a?'):rep(300000))")
    vm.execute(b"assert(not pcall(it)) assert(not pcall(it))")


def test_no_c_call_is_long_whatever_the_pattern() -> None:
    gap = machine().eval(
        rb"""
        (function()
          math.randomseed(7)
          local random, worst, culprit = math.random, 0
          local atoms = {"a", "b", ".", "%w", "%s", "[ab]", "[^b]", " ", "=", "%d", "[%w_]"}
          local quants = {"", "*", "+", "-", "?", "*"}
          local subjects = {}
          for _, n in ipairs{700, 1500, 4000, 20000, 150000} do
            subjects[#subjects + 1] = ("a"):rep(n)
            subjects[#subjects + 1] = ("a b"):rep(n // 3)
            subjects[#subjects + 1] = (" "):rep(n // 2) .. ("ab="):rep(n // 6)
          end
          local calls = {
            function(s, p) s:find(p) end, function(s, p) s:match(p, 20) end, function(s, p) s:gsub(p, "<%0>") end,
            function(s, p) s:gsub(p, {}) end, function(s, p) for _ in s:gmatch(p) do end end,
          }
          for _ = 1, 120 do
            local p = random(5) == 1 and "^" or ""
            for _ = 1, random(1, 4) do
              local item = atoms[random(#atoms)] .. quants[random(#quants)]
              p = p .. (random(4) == 1 and "(" .. item .. ")" or item)
            end
            if random(3) == 1 then p = p .. "$" end
            local f, s = calls[random(#calls)], subjects[random(#subjects)]
            local _, _, _, gap = limited(0.05, f, s, p)
            if gap > worst then worst, culprit = gap, p .. " on " .. #s .. s:sub(1, 9) end
          end
          return worst, culprit
        end)()
        """
    )
    assert gap[0] < 0.2, gap


def test_callbacks_may_yield() -> None:
    vm = machine()
    vm.execute(
        rb"""
        local co = coroutine.wrap(function()
          return (("a=1, b=2"):gsub("(%w)=(%w)", function(k, v) return coroutine.yield(k .. v) end))
        end)
        assert(co() == "a1" and co("X") == "b2" and co("Y") == "X, Y")
        local lazy = setmetatable({}, {__index = function(_, k) return coroutine.yield(k) end})
        co = coroutine.wrap(function() return (("ab"):gsub(".", lazy)) end)
        assert(co() == "a" and co("1") == "b" and co("2") == "12")
        co = coroutine.wrap(function()
          for w in ("x y"):gmatch("%a") do coroutine.yield(w) end
          return "end"
        end)
        assert(co() == "x" and co() == "y" and co() == "end")
        -- a match inside a callback does not disturb the one outside
        local function inner(x) return (("xyx"):gsub("(x)(.)%f[x]", "%2%1")) .. x end
        assert(("a-b"):gsub("(%w)", inner) == "yxxa-yxxb")
        """
    )


ERRORS = {
    b"string.find('a', nil)": b"s:1: bad argument #2 to 'find' (string expected, got nil)",
    b"('a'):find()": b"s:1: bad argument #1 to 'find' (string expected, got nil)",
    b"string.find({}, 'a')": b"s:1: bad argument #1 to 'find' (string expected, got table)",
    b"string.match('a', 'a', {})": b"s:1: bad argument #3 to 'match' (number expected, got table)",
    b"string.match('a', 'a', 1.5)": b"s:1: bad argument #3 to 'match' (number has no integer representation)",
    b"string.find('a', '%')": b"s:1: malformed pattern (ends with '%')",
    b"string.find('a', '[a')": b"s:1: malformed pattern (missing ']')",
    b"string.find('a', '%f')": b"s:1: missing '[' after '%f' in pattern",
    b"string.find('a', '%b')": b"s:1: malformed pattern (missing arguments to '%b')",
    b"string.match('a', 'a)')": b"s:1: invalid pattern capture",
    b"string.match('a', '(a')": b"s:1: unfinished capture",
    b"string.gsub('a', 'a', '%2')": b"s:1: invalid capture index %2",
    b"string.gsub('a', 'a', '%x')": b"s:1: invalid use of '%' in replacement string",
    b"string.gsub('a', 'a', {a = {}})": b"s:1: invalid replacement value (a table)",
    b"string.gsub('a', 'a', function() return {} end)": b"s:1: invalid replacement value (a table)",
    b"string.gsub('a', 'a')": b"s:1: bad argument #3 to 'gsub' (string/function/table expected, got nil)",
    b"string.gsub(('a'):rep(1e6), 'a', ('b'):rep(100))": b"s:1: resulting string too large",
    b"string.gsub(('a'):rep(1e6), 'a', function() return ('b'):rep(100) end)": (b"s:1: resulting string too large"),
    b"string.match('a', ('a?'):rep(300000))": b"s:1: pattern too complex",
}


@pytest.mark.parametrize("call", ERRORS, ids=lambda call: call.decode()[:40])
def test_errors_are_lua_s_words_at_the_script_s_line(call: bytes) -> None:
    assert complaint(call) == ERRORS[call]


def test_numbers_are_strings_where_lua_says_so() -> None:
    machine().execute(
        rb"""
        for _ = 1, 2 do -- the second time the short ways know the patterns
          assert(string.gsub(12, "%d", function(d) return d .. "x" end) == "1x2x" and string.gsub(12, "3", print) == "12")
          assert(string.gsub(12, "%d", {["1"] = "a"}) == "a2" and string.gmatch(12, "%d")() == "1")
        end
        assert(string.find(1234, 23) == 2 and string.match(12.5, "%d+", "2") == "2")
        assert(string.gsub(111, 1, 2, "2") == "221" and string.gsub("a", "a", 1.0) == "1.0")
        assert(select("#", string.find("a", "b")) == 1 and select("#", string.match("a", "b")) == 1)
        assert(string.find("abc", "b", 10) == nil and string.find("", "") == 1)
        assert(string.find("abc", "", 4) == 4 and string.find("abc", "", 5) == nil)
        """
    )
