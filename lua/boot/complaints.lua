-- complaints.lua: the errors of the guarded libraries, in Lua's own words and at the script's line.
--
-- Idea. A function of ours that complains stands between the script and Lua, so the position and the name in a message are
-- those of the first frame that is not ours. Errors pay for that, and not calls: a guarded function hands wrong arguments to
-- the function of C whose guard it is, or lets an operator fail, and whoever catches the error (pcall, a coroutine's resume,
-- the task) has `explain` put it right, while the frames are still there. Also the checks of arguments that lauxlib.c has.
--
-- Does not know: what a library does; it looks names up in K.libs.
--
-- Sources: lauxlib.c of Lua 5.4.8 (behaviour only).

local K = ...
local raw = K.raw
local mtype, tointeger = raw.math.type, raw.math.tointeger
local type, error, tostring, tonumber, rawget, getmetatable = raw.base.type, raw.base.error, raw.base.tostring, raw.base.tonumber, raw.base.rawget, raw.debug.getmetatable
local getinfo, getlocal = raw.debug.getinfo, raw.debug.getlocal
local match, find, gsub, next = raw.string.match, raw.string.find, raw.string.gsub, raw.base.next

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

local function length(t) -- luaL_len
  local n = #t
  if mtype(n) == "integer" then return n end
  n = tonumber(n)
  return n and tointeger(n) or raise("object length is not an integer")
end

-- ---- what C and the operators say ---------------------------------------------------------------------------------------

-- Guards outside the libraries: function → {name, the function of C, what its second argument is, of which another complains}.
local others = K.other_guards or {}

-- Of a guard: the name, the function of C that it guards, and the library, or nil and what `others` says.
local function guard(f)
  for _, lib in next, { "string", "table" } do
    for name, g in next, K.libs[lib] or {} do
      if g == f then return name, raw[lib][name], lib end
    end
  end
  local other = others[f]
  if other then return other[1], other[2], nil, other[3] end
end

-- The complaint of a C function that was called without a name, by pcall say: Lua finds it among the loaded libraries.
local function named(e, f)
  if not find(e, "^bad argument #%d+ to '%?' ") then return e end
  for lib, functions in next, raw do
    for name, each in next, functions do
      if each == f then return (gsub(e, "'%?'", "'" .. (lib == "base" and name or lib .. "." .. name) .. "'", 1)) end
    end
  end
  return e
end

-- The error `e` as Lua would have said it, if an operator in a guard, or the function of C in it, raised it. A message handler;
-- or, of a coroutine that died of e, explain(e, co). `above`: how many functions stand between the handler and this one.
local function explain(e, co, above)
  if type(e) ~= "string" then return e end
  above = (above or 0) + 2
  local function frame(level, what)
    if co then return getinfo(co, level, what) end
    return getinfo(level + above + 1, what)
  end
  local level, info = 0, frame(0, "Sf")
  local raised_by = info and info.what == "C" and info.func
  if raised_by then
    level, info = 1, frame(1, "Sf")
  end
  local at, name, c, lib, special
  while info and ours[info.source] do
    if not name then
      name, c, lib, special = guard(info.func)
      at = level
    end
    level = level + 1
    info = frame(level, "Slf")
  end
  if not name then return raised_by and named(e, raised_by) or e end
  local where = info and info.currentline > 0 and info.short_src .. ":" .. info.currentline .. ": " or ""
  local method
  if at == level - 1 then -- the script called it
    info = frame(at, "n")
    name, method = info.name or name, info.namewhat == "method"
  end
  local function argument(n)
    local _, v
    if co then _, v = getlocal(co, at, n) else _, v = getlocal(at + above + 1, n) end
    return v
  end
  local n, extra = match(e, "^bad argument #(%d+) to '[^']*' %((.*)%)$")
  if not raised_by then -- an operator
    local first = argument(1)
    local ty = type(first)
    if lib == "table" and ty ~= "table" then
      n, extra = 1, "table expected, got " .. typename(first)
    elseif lib == "string" and ty ~= "string" and ty ~= "number" then
      n, extra = 1, "string expected, got " .. typename(first)
    elseif lib == "table" and (match(e, "bitwise operation") or match(e, "no integer representation")) then
      e = "object length is not an integer"
    else
      e = match(e, "^[^:]*:%-?%d+: (.*)$") or e
    end
  elseif raised_by ~= c and (raised_by == error or not special) then
    return e
  elseif raised_by ~= c then
    n, extra = 2, special .. " expected, got " .. typename(argument(2))
  end
  if not n then return where .. e end
  if method then
    n = n - 1
    if n == 0 then return where .. "calling '" .. name .. "' on bad self (" .. extra .. ")" end
  end
  return where .. "bad argument #" .. n .. " to '" .. name .. "' (" .. extra .. ")"
end

K.guarded, K.raise, K.badarg, K.expected, K.str, K.int = guarded, raise, badarg, expected, str, int
K.length, K.explain = length, explain
