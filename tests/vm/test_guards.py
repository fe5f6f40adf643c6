"""The guarded string and table libraries: Lua's results and words, and no call that cannot be stopped."""

from __future__ import annotations

import lupa.lua54 as lupa
import pytest
from test_patterns import complaint, machine

from luahost.values import Limits
from luahost.vm import protocol
from luahost.vm.machine import opened

ERRORS = {
    b"table.insert(nil, 1)": b"s:1: bad argument #1 to 'insert' (table expected, got nil)",
    b"table.insert({})": b"s:1: wrong number of arguments to 'insert'",
    b"table.insert({}, 1, 2, 3)": b"s:1: wrong number of arguments to 'insert'",
    b"table.insert({}, 5, 1)": b"s:1: bad argument #2 to 'insert' (position out of bounds)",
    b"table.insert({}, 'x', 1)": b"s:1: bad argument #2 to 'insert' (number expected, got string)",
    b"table.insert(setmetatable({}, {__len = function() return 'x' end}), 1)": (
        b"s:1: object length is not an integer"
    ),
    b"table.remove('x')": b"s:1: bad argument #1 to 'remove' (table expected, got string)",
    b"table.remove({1, 2}, 7)": b"s:1: bad argument #2 to 'remove' (position out of bounds)",
    b"table.concat({{}})": b"s:1: invalid value (table) at index 1 in table for 'concat'",
    b"table.concat({1, 2}, '', 1, 3)": b"s:1: invalid value (nil) at index 3 in table for 'concat'",
    b"table.concat({}, {})": b"s:1: bad argument #2 to 'concat' (string expected, got table)",
    b"table.move({}, 1, math.maxinteger, 2)": b"s:1: bad argument #4 to 'move' (destination wrap around)",
    b"table.move({}, -1, math.maxinteger, 2)": b"s:1: bad argument #3 to 'move' (too many elements to move)",
    b"table.move({}, 1, 2, 3, 4)": b"s:1: bad argument #5 to 'move' (table expected, got number)",
    b"table.unpack({}, 1, 1e8)": b"s:1: too many results to unpack",
    b"table.sort({1, 'x'})": b"s:1: attempt to compare string with number",
    b"table.sort({{}, {}})": b"s:1: attempt to compare two table values",
    b"table.sort({1, 2}, 3)": b"s:1: bad argument #2 to 'sort' (function expected, got number)",
    b"table.sort({3, 2, 1, 4, 5}, function() return true end)": b"s:1: invalid order function for sorting",
    b"table.sort(setmetatable({}, {__len = function() return 1 << 31 end}))": (
        b"s:1: bad argument #1 to 'sort' (array too big)"
    ),
    b"string.rep('x', 1 << 30)": b"s:1: resulting string too large",
    b"string.rep('x', 1 << 60, 'y')": b"s:1: resulting string too large",
    b"string.rep({}, 2)": b"s:1: bad argument #1 to 'rep' (string expected, got table)",
    b"('x'):rep({})": b"s:1: bad argument #1 to 'rep' (number expected, got table)",
    b"string.format('%p', {})": b"s:1: invalid conversion '%p' to 'format'",
    b"string.format('%-10p', 1)": b"s:1: invalid conversion '%-10p' to 'format'",
    b"string.format('%d', 'x')": b"s:1: bad argument #2 to 'format' (number expected, got string)",
    b"string.format('%d')": b"s:1: bad argument #2 to 'format' (no value)",
    b"string.format('%s')": b"s:1: bad argument #2 to 'format' (no value)",
    b"string.format('%y', 1)": b"s:1: invalid conversion '%y' to 'format'",
    b"string.format('%q', {})": b"s:1: bad argument #2 to 'format' (value has no literal form)",
    b"string.format({})": b"s:1: bad argument #1 to 'format' (string expected, got table)",
}


@pytest.mark.parametrize("call", ERRORS, ids=lambda call: call.decode()[:40])
def test_errors_are_lua_s_words_at_the_script_s_line(call: bytes) -> None:
    assert complaint(call) == ERRORS[call]


# What raises, and every way to catch it: Lua itself is asked for its words.
CAUGHT = rb"""
local said = {}
local function note(ok, e) said[#said + 1] = tostring(ok) .. " " .. tostring(e) end
local wrong = {
  function() setmetatable({}, 5) end, function() setmetatable(5, {}) end,
  function() setmetatable(setmetatable({}, {__metatable = 1}), {}) end,
  function() table.insert(nil, 1) end, function() table.insert("x", 1) end, function() table.insert({}, 7, 1) end,
  function() table.remove("abc") end, function() table.remove({1, 2}, 9) end, function() table.concat(7) end,
  function() table.concat({1, {}}) end, function() table.concat({1, 2}, {}) end, function() table.concat({1}, ",", {}) end,
  function() table.move({}, 1, 3, "x") end, function() table.move({}, 1, 2, 3, 4) end, function() ("x"):rep({}) end,
  function() ("%d"):format("x") end, function() string.format("%d", "x") end, function() ("x"):find("x", {}) end,
  function() ("x"):gsub("x", "y", {}) end, function() ("x"):gsub("x", {x = {}}) end,
  function() ("x"):gsub("x", function() return {} end) end, function() ("x"):gsub("x", setmetatable({}, {__index = {x = {}}})) end,
  function() local insert = table.insert insert({}, 7, 1) end,
  function() local t = setmetatable({}, {__index = table}) t:insert(7, 1) end,
  function() local t = setmetatable({}, {__index = table}) t:concat({}) end,
  function() string.find(nil, "x") end, function() string.match({}, "x") end, function() string.gsub(print, "x", "y") end,
  function() string.gmatch(true, "x") end, function() string.find(nil, "x", 1, true) end, function() string.rep({}, 2) end,
  function() local t = {find = string.find} t:find("x") end,
  function() assert(string.find(12, "2") == 2 and string.match(1.5, "%d") == "1" and string.rep(1, 2) == "11") error("fine") end,
  function() error("a bad argument #1 to '?' (of my own)") end, function() error("to '?' (x)", 0) end,
}
for _ = 1, 2 do -- the second time the short ways know the patterns
  for _, f in ipairs(wrong) do
    note(pcall(f))
    note(xpcall(f, function(e) return "handled: " .. tostring(e) end))
    note(coroutine.resume(coroutine.create(f)))
    note(pcall(coroutine.wrap(f)))
    note(pcall(coroutine.wrap(function() f() end)))
    note(pcall(function() local t <close> = setmetatable({}, {__close = function(_, e) note("closed", e) end}) f() end))
  end
  note(pcall(table.concat, {{}}))
end
return table.concat(said, "\n")
"""


def test_a_guard_s_error_has_lua_s_words_wherever_it_is_caught() -> None:
    theirs = lupa.LuaRuntime(encoding=None).eval(b"function(text) return load(text, '=s')() end")(CAUGHT)
    vm = opened(Limits())
    vm.load(CAUGHT, name="s")
    done = vm.start("run")[0]
    assert isinstance(done, protocol.Done), done
    ours = protocol.decode(done.value)
    assert ours.split("\n") == theirs.decode().split("\n")


def test_strings_answer_as_c_does() -> None:
    machine().execute(
        rb"""
        local rep = string.rep
        assert(rep("", 1 << 60) == "" and rep("", 1 << 60, "") == "" and rep("x", -5) == "")
        assert(rep("ab", 3, ",") == "ab,ab,ab" and rep("x", "3") == "xxx" and rep(1, 2.0) == "11")
        assert(#string.rep("x", 16 << 20) == 16 << 20 and not pcall(string.rep, "x", (16 << 20) + 1))
        assert(string.dump == nil and utf8.len("\u{e9}") == 1 and utf8.charpattern == real.utf8.charpattern)
        local cases = {
          {"%d %5.2f %x", 1, 2.5, 255}, {"%s|%10s|%-5s|", "a", 1, true}, {"%q", "a\n\0b"}, {"%%"}, {"%s", nil},
          {"%5s%%%s", "x", "y"}, {"%i", "10"}, {"%g %a", 1e20, 1}, {"no items", 1, 2}, {"%.3s", "abcdef"},
          {"%s %s %s %s %s", 1, 2, 3, 4, 5}, {"%c%c", 65, 66},
        }
        for _, c in ipairs(cases) do
          assert(string.format(table.unpack(c, 1, 6)) == real.string.format(table.unpack(c, 1, 6)), c[1])
        end
        for _, bad in ipairs{"%5%", "%", "%123d", "%-", "%.p"} do assert(not pcall(string.format, bad, 1)) end
        """
    )


def test_no_address_shows() -> None:
    machine().execute(
        rb"""
        local t, f, co = {}, print, coroutine.create(print)
        local many = string.format("%d %s %s %s %s %s", 1, "a", f, 2, co, t)
        for _, s in ipairs{string.format("%s", t), many, ("%20s"):format(co)} do
          assert(not s:find("0x"), s)
        end
        assert(string.format("%s", setmetatable({}, {__tostring = function() return "me" end})) == "me")
        """
    )


# Random operations on tables with and without metatables, beside C.
DIFFERENTIAL = rb"""
math.randomseed(11)
local R, T, random = real.table, table, math.random
local function proxy(t)
  local function set(_, k, v) t[k] = v end
  return setmetatable({}, {__index = t, __newindex = set, __len = function() return #t end})
end
local function text(ok, ...)
  local t = R.pack(ok, ...)
  for i = 1, t.n do t[i] = type(t[i]) == "table" and "table" or tostring(t[i]) end
  return R.concat(t, "|")
end
local any = {nil, 0, 1, 2, 3, -1, 5, 9, "2", 1.5, 3.0, "x", math.maxinteger, math.mininteger, {}, n = 15}
local function arg() return any[random(any.n)] end
for n = 1, 6000 do
  local a, b = {}, {}
  for i = 1, random(0, 8) do
    local v = random(9)
    a[i], b[i] = v, v
  end
  local x, y = a, b
  if random(2) == 1 then x, y = proxy(a), proxy(b) end
  local name = ({"insert", "remove", "concat", "move", "unpack", "sort", "insert", "remove"})[random(8)]
  local args = {}
  local count = random(0, 4)
  for i = 1, count do args[i] = arg() end
  if name == "move" then
    for i = 1, 3 do args[i] = random(-2, 8) end
    if count > 3 then count = 3 end
  elseif name == "unpack" or name == "concat" then
    for i = 1, count do args[i] = (name == "concat" and i == 1) and "," or random(-1, 9) end
  elseif name == "sort" then
    count = random(0, 1)
    args[1] = function(p, q) return p > q end
  end
  local p = text(pcall(R[name], x, R.unpack(args, 1, count)))
  local q = text(pcall(T[name], y, R.unpack(args, 1, count)))
  p = real.string.gsub(p, "table%.(%l+)'", "%1'")
  p = real.string.gsub(p, "got no value", "got nil")
  q = real.string.gsub(q, "got no value", "got nil")
  q = real.string.gsub(q, "table%.(%l+)'", "%1'")
  assert(p == q, name .. ": C " .. p .. ", ours " .. q)
  for i = -3, 12 do assert(a[i] == b[i], name .. " left something else") end
end
"""


def test_tables_answer_as_c_does() -> None:
    machine().execute(DIFFERENTIAL)


def test_sort_orders_everything_that_has_an_order() -> None:
    machine().execute(
        rb"""
        math.randomseed(5)
        local function check(t, lt)
          table.sort(t, lt)
          lt = lt or function(a, b) return a < b end
          for i = 2, #t do assert(not lt(t[i], t[i - 1])) end
        end
        for _, n in ipairs{0, 1, 2, 3, 4, 10, 101, 1000, 30000} do
          local a, b, c, d = {}, {}, {}, {}
          for i = 1, n do a[i], b[i], c[i], d[i] = math.random(n), "s" .. math.random(n), i, n - i // 3 end
          check(a) check(b) check(c) check(d)
          if n <= 1000 then
            check(a, function(x, y) return x > y end)
            check(c, function(x, y) return x % 7 < y % 7 end)
            local mt = {__lt = function(x, y) return x.v < y.v end, __metatable = "closed"}
            for i = 1, n do d[i] = setmetatable({v = math.random(9)}, mt) end
            check(d)
          end
        end
        -- the pattern that makes quicksort with a middle pivot quadratic ends all the same
        local t = {}
        for i = 1, 20000 do t[i] = i % 2 == 0 and i or 20001 - i end
        check(t, function(x, y) return x < y end)
        """
    )


def test_sort_asks_a_comparator_what_c_asks_and_ends_as_c_does() -> None:
    """Also where the comparator contradicts itself. Up to 100 elements: beyond, C's pivots depend on the clock."""
    machine().execute(
        rb"""
        math.randomseed(7)
        local function sorted(sort, keys, less)
          local t, asked = {}, {}
          for i, key in ipairs(keys) do t[i] = {key = key, id = i} end
          local ok, e = pcall(sort, t, function(a, b)
            asked[#asked + 1] = (a and a.id or "-") .. "," .. (b and b.id or "-")
            return a and b and less(a, b)
          end)
          for i = 1, #t do t[i] = t[i].id end
          return (ok and "" or e:match("invalid order.*")) .. table.concat(t, " ") .. " " .. table.concat(asked, " ")
        end
        local orders = {
          function(a, b) return a.key < b.key end,
          function(a, b) return a.key <= b.key end,
          function(a, b) return (a.key * 31 + b.key * 17 + a.id) % 3 == 0 end,
        }
        for n = 1, 900 do
          local keys, most, less = {}, ({2, 9, 1000})[math.random(3)], orders[n % 3 + 1]
          for i = 1, math.random(0, 99) do keys[i] = math.random(most) end
          assert(sorted(table.sort, keys, less) == sorted(real.table.sort, keys, less))
        end
        """
    )


def test_comparators_and_metamethods_may_yield() -> None:
    machine().execute(
        rb"""
        local co = coroutine.wrap(function()
          local t = {3, 1, 2}
          table.sort(t, function(a, b) coroutine.yield("?") return a < b end)
          return table.concat(t, ",")
        end)
        local r repeat r = co() until r ~= "?"
        assert(r == "1,2,3")
        co = coroutine.wrap(function()
          local t = setmetatable({}, {__newindex = function(_, k, v) coroutine.yield(k .. v) end})
          table.insert(t, "x")
          return "done"
        end)
        assert(co() == "1x" and co() == "done")
        """
    )


# Each held a C function for seconds to for ever.
ATTACKS = {
    "rep of nothing": b"while true do string.rep('', 1 << 60) end",
    "move": b"return table.move({}, 1, 1 << 60, 2)",
    "concat with __index": b"return table.concat(setmetatable({}, {__index = table.concat}), '', 1, 1 << 60)",
    "concat with a value for all": (
        b"return table.concat(setmetatable({}, {__index = function() return '' end}), '', 1, 1 << 60)"
    ),
    "insert with __len": (b"return table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)"),
    "remove with __len": b"return table.remove(setmetatable({}, {__len = function() return 1 << 60 end}), 1)",
    "insert before a far border": (b"local t = {} for i = 45, 0, -1 do t[1 << i] = 1 end table.insert(t, 1, 1)"),
    "sort of a far border": b"local t = {} for i = 30, 0, -1 do t[1 << i] = 1 end table.sort(t, rawequal)",
    "sort of long strings": rb"""
        local a, b, t = ('\0'):rep(3000000) .. 'x', ('\0'):rep(3000000) .. 'y', {}
        for i = 1, 2000 do t[i] = i % 2 == 0 and a or b end
        table.sort(t)""",
    "sort again and again": b"local t = {} for i = 1, 20000 do t[i] = -i end while true do table.sort(t) end",
    "insert at the front": (
        b"local t = {} for i = 1, 90000 do t[i] = 1 end while true do table.insert(t, 1, 1) end"
    ),
    "quoted zeros": rb"local s = ('\0'):rep(200000) for i = 1, 1e9 do string.format('%q', s) end",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_when_the_time_is_over(name: str) -> None:
    run = machine().eval(b"function(text) return limited(0.1, load(text)) end")
    ok, why, seconds, _ = run(ATTACKS[name])
    assert not ok
    assert why == b"KILLED" or b"bad argument" in why or b"invalid" in why
    assert seconds < 0.4
