-- sort.lua: table.sort.
--
-- Idea. C's sort for numbers or short strings in their own order, and not too many; else a quicksort in Lua: its comparator may
-- yield and be killed, and C's `<` on long strings is slow.
--
-- Sources: ltablib.c of Lua 5.4.8 (behaviour and error words only; quicksort after Sedgewick, as there), SANDBOX.md §4.

local K = ...
local raw = K.raw
local sort, type = raw.table.sort, raw.base.type
local getmetatable = raw.base.getmetatable
local raise, badarg, expected, look, length = K.raise, K.badarg, K.expected, K.look, K.length
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
    local i, j, last = lo, up - 1, up - 1
    while true do
      i = i + 1
      local v = a[i]
      while lt(v, pivot) do
        if i == last then order_error() end
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
        a[last], a[i] = v, pivot
        break
      end
      a[i], a[j] = w, v
    end
    local size
    if i - lo < up - i then
      size = i - lo
      if size > 1 then quicksort(a, lo, i - 1, lt, seed) end
      lo = i + 1
    else
      size = up - i
      if size > 1 then quicksort(a, i + 1, up, lt, seed) end
      up = i - 1
    end
    if (up - lo) // 128 > size then seed = (seed * 1103515245 + 12345 + up) & 0x3fffffff | 1 end
  end
end

local function less(x, y) -- an error of `<` is put right by who catches it (complaints.lua)
  return x < y
end

local function less_long(x, y) -- for strings of which some are long: C takes up to 6 ns a byte
  if #x > 8192 and #y > 8192 then look() end
  return x < y
end

-- What a[1..n] is: "number", "string" of at most C_SORT_BYTES in all, "long" strings, "any". Of numbers three are looked at: C
-- compares the first, the middle and the last with one another, and then each of the others with one of these. So it complains of
-- what is no number before it has compared any two others.
local function kind_of(a, n)
  local kind = type(a[1])
  if kind ~= "number" and kind ~= "string" then return "any" end
  if type(a[n]) ~= kind or type(a[(1 + n) // 2]) ~= kind then return "any" end
  if kind == "string" then
    local size = 0
    for i = 1, n do
      local v = a[i]
      if type(v) ~= "string" then return "any" end
      size = size + #v
    end
    if size > C_SORT_BYTES then return "long" end
  end
  return kind
end

function K.libs.table.sort(t, lt)
  if type(t) ~= "table" then expected(1, "sort", "table", t) end
  local n = length(t)
  if n < 2 then return end
  if n >= 0x7fffffff then badarg(1, "sort", "array too big") end
  local kind
  if lt ~= nil then
    if type(lt) ~= "function" then expected(2, "sort", "function", lt) end
  elseif getmetatable(t) == nil then
    kind, lt = kind_of(t, n), less
    if kind == "long" then
      lt = less_long
    elseif kind ~= "any" and n <= C_SORT then
      return sort(t) -- NaN: "invalid order function"
    end
  end
  quicksort(t, 1, n, lt or less, 0) -- no tail call: the frame has the name that a complaint needs
end
