-- tables.lua: the table library that scripts see.
--
-- Idea. Lua's own operators obey metamethods, can yield and are interrupted by the count hook, so a function written in Lua is
-- right for every table; C is only the quick way for what is plain (no metatable) and short. So nothing is refused for its
-- length: an insert into a table whose border is 2^45 simply runs until the script's time is over.
-- sort is Lua unless all elements are numbers or short strings: its comparator may yield, and C's `<` on long strings is slow.
--
-- Does not know: memory (the allocator's affair), and C callers: none of these run under lua_call from C.
--
-- Sources: ltablib.c of Lua 5.4.8 (behaviour and error words only; quicksort after Sedgewick, as there), SANDBOX.md §4.

local K = ...
local raw = K.raw
local concat, insert, move, remove, sort = raw.table.concat, raw.table.insert, raw.table.move, raw.table.remove, raw.table.sort
local mtype, tointeger, maxint = raw.math.type, raw.math.tointeger, raw.math.maxinteger
local type, select, pcall, error, tonumber = raw.base.type, raw.base.select, raw.base.pcall, raw.base.error, raw.base.tonumber
local getmetatable, rawequal, rawget = raw.base.getmetatable, raw.base.rawequal, raw.base.rawget
local metatable = raw.debug.getmetatable -- the real one, whatever __metatable says
local raise, badarg, expected, str, int, breathe = K.raise, K.badarg, K.expected, K.str, K.int, K.breathe
K.guarded()

local C_MOVES = 100000 -- elements that one C call may shift, move or join
local C_SHORT = 3000 -- beyond, the hook is let in before
local C_SORT = 20000 -- elements that one C call may sort
local C_SORT_BYTES = 200000 -- and bytes of strings

local function check(t, n, name)
  if type(t) ~= "table" then expected(n, name, "table", t) end
end

local function length(t) -- luaL_len
  local n = #t
  if mtype(n) == "integer" then return n end
  n = tonumber(n)
  return n and tointeger(n) or raise("object length is not an integer")
end

local function plain(t)
  return getmetatable(t) == nil
end

local T = { pack = raw.table.pack }

-- ---- insert, remove, move, concat, unpack -------------------------------------------------------------------------------

function T.insert(t, ...)
  if type(t) ~= "table" then expected(1, "insert", "table", t) end
  local count = select("#", ...)
  if count == 1 then
    local n = #t
    if mtype(n) ~= "integer" then n = length(t) end
    t[n + 1] = ...
    return
  end
  local e = length(t) + 1
  if count ~= 2 then raise("wrong number of arguments to 'insert'") end
  local pos, v = ...
  pos = int(pos, 2, "insert")
  -- as in C an unsigned comparison, so that a length of maxinteger wraps the same way
  if not raw.math.ult(pos - 1, e) then badarg(2, "insert", "position out of bounds") end
  if e - pos <= C_MOVES and plain(t) then
    if e - pos > C_SHORT then breathe() end
    return insert(t, pos, v)
  end
  for i = e, pos + 1, -1 do t[i] = t[i - 1] end
  t[pos] = v
end

function T.remove(t, pos)
  if type(t) ~= "table" then expected(1, "remove", "table", t) end
  local size = #t
  if mtype(size) ~= "integer" then size = length(t) end
  if pos == nil then
    local v = t[size]
    t[size] = nil
    return v
  end
  pos = int(pos, 2, "remove")
  if pos ~= size and raw.math.ult(size, pos - 1) then badarg(2, "remove", "position out of bounds") end
  if size - pos <= C_MOVES and plain(t) then
    if size - pos > C_SHORT then breathe() end
    return (remove(t, pos))
  end
  local v = t[pos]
  while pos < size do
    t[pos] = t[pos + 1]
    pos = pos + 1
  end
  t[pos] = nil
  return v
end

function T.move(a, f, e, t, b)
  f, e, t = int(f, 2, "move"), int(e, 3, "move"), int(t, 4, "move")
  check(a, 1, "move")
  if b == nil then b = a else check(b, 5, "move") end
  if e >= f then
    if not (f > 0 or e < maxint + f) then badarg(3, "move", "too many elements to move") end
    local last = e - f
    if t > maxint - last then badarg(4, "move", "destination wrap around") end
    if last < C_MOVES and plain(a) and plain(b) then
      if last > C_SHORT then breathe() end
      return move(a, f, e, t, b)
    end
    if t > e or t <= f or not (rawequal(a, b) or a == b) then
      for i = 0, last do b[t + i] = a[f + i] end
    else
      for i = last, 0, -1 do b[t + i] = a[f + i] end
    end
  end
  return b
end

-- What a pcalled function of C gives, or its complaint at the script's line.
local function settled(ok, r)
  if ok then return r end
  if type(r) ~= "string" or r == "not enough memory" then error(r, 0) end
  raise(r)
end

-- Joins t[i..j] piece by piece, each read by Lua and settled by C. The pieces are plain and short.
local function concat_slowly(t, sep, i, j)
  local pieces, buffer, n = {}, {}, 0
  if i > j then return "" end
  while true do
    local v = t[i]
    if type(v) ~= "string" and type(v) ~= "number" then
      raise("invalid value (" .. type(v) .. ") at index " .. i .. " in table for 'concat'")
    end
    n = n + 1
    buffer[n] = v
    if n == 4096 then
      pieces[#pieces + 1] = concat(buffer, sep, 1, n)
      n = 0
    end
    if i == j then break end
    i = i + 1
  end
  if n > 0 then pieces[#pieces + 1] = concat(buffer, sep, 1, n) end
  return concat(pieces, sep)
end

function T.concat(t, sep, i, j)
  if type(t) ~= "table" then expected(1, "concat", "table", t) end
  local n = #t
  if mtype(n) ~= "integer" then n = length(t) end
  if i == nil and j == nil and n <= C_MOVES and (sep == nil or type(sep) == "string") and getmetatable(t) == nil then
    if n > C_SHORT then breathe() end
    local ok, r = pcall(concat, t, sep)
    if ok then return r end
    return settled(ok, r)
  end
  sep = sep == nil and "" or str(sep, 2, "concat")
  i = int(i, 3, "concat", 1)
  j = int(j, 4, "concat", n)
  if i > j or j - i >= 0 and j - i < C_MOVES and plain(t) then
    breathe()
    return settled(pcall(concat, t, sep, i, j))
  end
  return concat_slowly(t, sep, i, j)
end

T.unpack = raw.table.unpack -- bounded by the stack ("too many results to unpack"); __index runs under the hook

-- ---- sort ---------------------------------------------------------------------------------------------------------------

local function order_error()
  raise("invalid order function for sorting")
end

-- Quicksort of a[lo..up], median of three, the larger part in the loop; `lt` decides. Pivots of large ranges move about once a
-- partition was lopsided.
local function quicksort(a, lo, up, lt, seed)
  while lo < up do
    local x, y = a[lo], a[up]
    if lt(y, x) then a[lo], a[up] = y, x end
    if up - lo == 1 then return end
    local p = (lo + up) // 2
    if seed ~= 0 and up - lo > 100 then
      local quarter = (up - lo) // 4
      p = lo + quarter + seed % (quarter * 2)
    end
    local pivot, low = a[p], a[lo]
    if lt(pivot, low) then
      a[p], a[lo] = low, pivot
      pivot = low
    else
      local high = a[up]
      if lt(high, pivot) then
        a[p], a[up] = high, pivot
        pivot = high
      end
    end
    if up - lo == 2 then return end
    a[p], a[up - 1] = a[up - 1], pivot
    local i, j = lo, up - 1
    while true do
      i = i + 1
      local v = a[i]
      while lt(v, pivot) do
        if i == up - 1 then order_error() end
        i = i + 1
        v = a[i]
      end
      j = j - 1
      local w = a[j]
      while lt(pivot, w) do
        if j < i then order_error() end
        j = j - 1
        w = a[j]
      end
      if j < i then
        a[up - 1], a[i] = v, pivot
        break
      end
      a[i], a[j] = w, v
    end
    local size
    if i - lo < up - i then
      size = i - lo
      quicksort(a, lo, i - 1, lt, seed)
      lo = i + 1
    else
      size = up - i
      quicksort(a, i + 1, up, lt, seed)
      up = i - 1
    end
    if (up - lo) // 128 > size then seed = (seed * 1103515245 + 12345 + up) & 0x3fffffff | 1 end
  end
end

local function less(x, y) -- for numbers, or for strings
  return x < y
end

local function less_long(x, y) -- for strings of which some are long: C takes up to 6 ns a byte
  if #x > 8192 and #y > 8192 then breathe() end
  return x < y
end

local function less_any(x, y) -- the default order of anything, with C's words
  local a, b = type(x), type(y)
  if not (a == b and (a == "number" or a == "string")) then
    local m, n = metatable(x), metatable(y)
    if not (type(m) == "table" and rawget(m, "__lt") ~= nil or type(n) == "table" and rawget(n, "__lt") ~= nil) then
      if a == b then raise("attempt to compare two " .. a .. " values") end
      raise("attempt to compare " .. a .. " with " .. b)
    end
  end
  return x < y
end

-- Whether a[1..n] is all numbers, all strings of at most C_SORT_BYTES, or neither.
local function kind_of(a, n)
  local kind, size = type(a[1]), 0
  if kind == "number" then
    for i = 2, n do
      if not mtype(a[i]) then return "any" end
    end
  elseif kind == "string" then
    for i = 1, n do
      local v = a[i]
      if type(v) ~= "string" then return "any" end
      size = size + #v
    end
    if size > C_SORT_BYTES then return "long" end
  else
    return "any"
  end
  return kind
end

function T.sort(t, lt)
  if type(t) ~= "table" then expected(1, "sort", "table", t) end
  local n = length(t)
  if n < 2 then return end
  if n >= 0x7fffffff then badarg(1, "sort", "array too big") end
  if lt ~= nil then
    if type(lt) ~= "function" then expected(2, "sort", "function", lt) end
    return quicksort(t, 1, n, lt, 0)
  end
  if plain(t) then
    local kind = kind_of(t, n)
    if kind ~= "any" then
      if kind ~= "long" and n <= C_SORT then
        settled(pcall(sort, t)) -- NaN: "invalid order function"
        return
      end
      return quicksort(t, 1, n, kind == "long" and less_long or less, 0)
    end
  end
  return quicksort(t, 1, n, less_any, 0)
end

K.libs = K.libs or {}
K.libs.table = T
