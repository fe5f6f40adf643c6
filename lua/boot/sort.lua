-- sort.lua: table.sort.
--
-- Idea. C's sort for numbers or short strings in their own order, a few at a time; else a quicksort in Lua: its comparator may
-- yield and be killed, and C's `<` on long strings is slow.
--
-- Sources: ltablib.c of Lua 5.4.8 (behaviour and error words only; quicksort after Sedgewick, as there), SANDBOX.md §4.

local K = ...
local raw = K.raw
local sort, mtype, type, pcall, rawget = raw.table.sort, raw.math.type, raw.base.type, raw.base.pcall, raw.base.rawget
local getmetatable = raw.base.getmetatable
local metatable = raw.debug.getmetatable -- the real one, whatever __metatable says
local raise, badarg, expected, breathe, settled, length = K.raise, K.badarg, K.expected, K.breathe, K.settled, K.length
K.guarded()

local C_SORT = 20000 -- elements that one C call may sort
local C_SORT_BYTES = 200000 -- and bytes of strings

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

function K.libs.table.sort(t, lt)
  if type(t) ~= "table" then expected(1, "sort", "table", t) end
  local n = length(t)
  if n < 2 then return end
  if n >= 0x7fffffff then badarg(1, "sort", "array too big") end
  if lt ~= nil then
    if type(lt) ~= "function" then expected(2, "sort", "function", lt) end
    return quicksort(t, 1, n, lt, 0)
  end
  if getmetatable(t) == nil then
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

