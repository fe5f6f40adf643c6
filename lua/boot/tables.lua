-- tables.lua: the table library that scripts see.
--
-- Idea. Lua's own operators obey metamethods, can yield and are interrupted by the count hook, so a function written in Lua is
-- right for every table; C is only the quick way for what is plain (no metatable) and short. So nothing is refused for its
-- length: an insert into a table whose border is 2^45 simply runs until the script's time is over.
--
-- Does not know: memory (the allocator's affair), and C callers: none of these run under lua_call from C.
--
-- Sources: ltablib.c of Lua 5.4.8 (behaviour and error words only), SANDBOX.md §4.

local K = ...
K.need("boot/complaints.lua")
local raw = K.raw
local concat, insert, move, remove = raw.table.concat, raw.table.insert, raw.table.move, raw.table.remove
local mtype, maxint = raw.math.type, raw.math.maxinteger
local type, select = raw.base.type, raw.base.select
local getmetatable, rawequal, ult = raw.base.getmetatable, raw.base.rawequal, raw.math.ult
local raise, badarg, expected, str, int, look, length = K.raise, K.badarg, K.expected, K.str, K.int, K.look, K.length
K.guarded()

local C_MOVES <const> = 100000 -- elements that one C call may shift, move or join
local C_SHORT <const> = 3000 -- beyond, with a look at the clock before
local C_BYTES <const> = 1 << 20 -- of a string made by one C call: beyond, with a look at the clock

local function check(t, n, name)
  if type(t) ~= "table" then expected(n, name, "table", t) end
end

local function plain(t)
  return getmetatable(t) == nil
end

local T = K.libs.table or {}
T.pack = raw.table.pack

-- ---- insert, remove, move, concat, unpack -------------------------------------------------------------------------------

-- Each begins with the ordinary case, checks nothing that C or an operator will check (complaints.lua puts the words right),
-- and leaves all others to a longer function. `| 0`: a length that is no integer fails.

local function insert_long(t, count, ...)
  check(t, 1, "insert")
  local e = length(t) + 1
  if count ~= 2 then raise("wrong number of arguments to 'insert'") end
  local pos, v = ...
  pos = int(pos, 2, "insert")
  -- as in C an unsigned comparison, so that a length of maxinteger wraps the same way
  if not ult(pos - 1, e) then badarg(2, "insert", "position out of bounds") end
  if e - pos <= C_MOVES and plain(t) then
    if e - pos > C_SHORT then look() end
    return insert(t, pos, v)
  end
  for i = e, pos + 1, -1 do t[i] = t[i - 1] end
  t[pos] = v
end

function T.insert(t, ...)
  local count = select("#", ...)
  if count == 1 then
    t[(#t | 0) + 1] = ...
    return
  end
  if #t <= C_SHORT and getmetatable(t) == nil then return insert(t, ...) end
  insert_long(t, count, ...) -- no tail call: the frame has the name that a complaint needs
end

local function remove_long(t, size, pos)
  check(t, 1, "remove")
  pos = int(pos, 2, "remove")
  if pos ~= size and ult(size, pos - 1) then badarg(2, "remove", "position out of bounds") end
  if size - pos <= C_MOVES and plain(t) then
    look()
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

function T.remove(t, pos)
  local size = #t | 0
  if pos == nil then
    local v = t[size]
    t[size] = nil
    return v
  end
  if size <= C_SHORT and getmetatable(t) == nil then return remove(t, pos) end
  return (remove_long(t, size, pos))
end

local function move_long(a, f, e, t, b)
  f, e, t = int(f, 2, "move"), int(e, 3, "move"), int(t, 4, "move")
  check(a, 1, "move")
  if b == nil then b = a else check(b, 5, "move") end
  if e >= f then
    if not (f > 0 or e < maxint + f) then badarg(3, "move", "too many elements to move") end
    local last = e - f
    if t > maxint - last then badarg(4, "move", "destination wrap around") end
    if last < C_MOVES and plain(a) and plain(b) then
      if last > C_SHORT then look() end
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

function T.move(a, f, e, t, b)
  -- An f that is no integer is C's to refuse or to convert; e - f wraps only where C refuses.
  if mtype(e) == "integer" and (f == 1 or mtype(f) == "integer") and e - f < C_SHORT
    and getmetatable(a) == nil and getmetatable(b) == nil then
    return move(a, f, e, t, b)
  end
  return (move_long(a, f, e, t, b))
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

local function concat_long(t, sep, i, j)
  check(t, 1, "concat")
  local n = length(t)
  sep = sep == nil and "" or str(sep, 2, "concat")
  i = int(i, 3, "concat", 1)
  j = int(j, 4, "concat", n)
  if i > j or j - i >= 0 and j - i < C_MOVES and plain(t) then
    look()
    return concat(t, sep, i, j)
  end
  return concat_slowly(t, sep, i, j)
end

function T.concat(t, sep, i, j)
  if i == nil and getmetatable(t) == nil and #t <= C_SHORT then -- whatever j is, C ends at the first nil
    local r = concat(t, sep, nil, j)
    if #r > C_BYTES then look() end
    return r
  end
  return (concat_long(t, sep, i, j))
end

T.unpack = raw.table.unpack -- bounded by the stack ("too many results to unpack"); __index runs under the hook

K.later(T, "sort", "boot/sort.lua")

K.libs.table = raw.base.setmetatable(T, nil)
