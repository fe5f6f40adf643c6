-- complaints.lua: the errors of the guarded libraries, in Lua's own words and at the script's line.
--
-- Idea. A function of ours that complains stands between the script and Lua, so the position and the name in a message are
-- those of the first frame that is not ours. Also the checks of arguments that lauxlib.c has, and `breathe`.
--
-- Does not know: any library.
--
-- Sources: lauxlib.c of Lua 5.4.8 (behaviour only).

local K = ...
local raw = K.raw
local mtype, tointeger = raw.math.type, raw.math.tointeger
local type, error, tostring, tonumber, rawget, getmetatable = raw.base.type, raw.base.error, raw.base.tostring, raw.base.tonumber, raw.base.rawget, raw.debug.getmetatable
local getinfo = raw.debug.getinfo

-- 1000 instructions for 4 µs: lets the count hook look at the clock before a C call that may take milliseconds. Without it,
-- the few instructions between such calls would let dozens of them pass between two looks.
local function breathe(turns)
  for _ = 1, turns or 1000 do end
end

local ours = { [getinfo(1, "S").source] = true } -- sources of the guarded libraries: K.guarded() adds one

local function guarded()
  ours[getinfo(2, "S").source] = true
end

-- The level (seen by the caller of `outside`) of the first frame that is not ours.
local function outside()
  local level = 3
  local info = getinfo(level, "S")
  while info and ours[info.source] do
    level = level + 1
    info = getinfo(level, "S")
  end
  return level - 1
end

local function raise(message)
  local info = getinfo(outside(), "Sl")
  if info and info.currentline > 0 then message = info.short_src .. ":" .. info.currentline .. ": " .. message end
  error(message, 0)
end

local function typename(v)
  local mt = getmetatable(v)
  local name = type(mt) == "table" and rawget(mt, "__name")
  return type(name) == "string" and name or type(v)
end

-- "bad argument #n to 'name' (extra)", with the name the script used; methods do not count self.
local function badarg(n, name, extra)
  local info = getinfo(outside() - 1, "n")
  if info and info.namewhat == "method" then
    n = n - 1
    if n == 0 then raise("calling '" .. info.name .. "' on bad self (" .. extra .. ")") end
  end
  raise("bad argument #" .. n .. " to '" .. (info and info.name or name) .. "' (" .. extra .. ")")
end

local function expected(n, name, what, v)
  badarg(n, name, what .. " expected, got " .. typename(v))
end

local function str(v, n, name) -- luaL_checklstring
  if type(v) == "string" then return v end
  if type(v) == "number" then return tostring(v) end
  expected(n, name, "string", v)
end

local function int(v, n, name, default) -- luaL_checkinteger, or luaL_optinteger when there is a default
  if mtype(v) == "integer" then return v end
  if v == nil and default then return default end
  local x = v
  if type(x) == "string" then x = tonumber(x) end
  if type(x) ~= "number" then expected(n, name, "number", v) end
  return tointeger(x) or badarg(n, name, "number has no integer representation")
end

-- What a pcalled function of C gives, or its complaint at the script's line.
local function settled(ok, r)
  if ok then return r end
  if type(r) ~= "string" or r == "not enough memory" then error(r, 0) end
  raise(r)
end

local function length(t) -- luaL_len
  local n = #t
  if mtype(n) == "integer" then return n end
  n = tonumber(n)
  return n and tointeger(n) or raise("object length is not an integer")
end

K.breathe, K.guarded, K.raise, K.badarg, K.expected, K.str, K.int = breathe, guarded, raise, badarg, expected, str, int
K.settled, K.length = settled, length
