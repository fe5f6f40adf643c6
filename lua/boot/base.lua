-- What a script sees: its global table, and read-only library tables behind it.
--
-- The script's _G is an ordinary table, its own to change. Library tables are empty proxies whose real
-- tables sit behind __index: writing raises, rawset refuses, and replacing the global `string` changes
-- nothing for s:method() or for us. Gone: io, debug, package, dofile, loadfile, string.dump, warn, and every
-- os function that touches the machine.

local K = ...
local base, raw_os = K.raw.base, K.raw.os
local type, next, select, error, rawget, rawset = base.type, base.next, base.select, base.error, base.rawget, base.rawset
local rawequal = base.rawequal
local getmetatable, setmetatable, tostring, raw_load = base.getmetatable, base.setmetatable, base.tostring, base.load
local string_metatable, true_metatable = getmetatable(""), K.raw.debug.getmetatable
local format, sub = K.raw.string.format, K.raw.string.sub
local date, time, clock = raw_os.date, raw_os.time, raw_os.clock

local LOAD_BYTES = 64 * 1024     -- beyond, the words that make the parser quadratic are counted
local MAIN_BYTES = 256 * 1024    -- what a script or a module may have
local MAIN_JUMPS = 20000         -- and, or, elseif, goto, break, :: in it, the quadratic ones

-- ── read-only tables ────────────────────────────────────────────────────────────────────────────────

local sealed = setmetatable({}, { __mode = "k" })

local function refuse(proxy, k)
  error("attempt to change the read-only table '" .. sealed[proxy] .. "' (field '" .. K.tostring(k) .. "')", 2)
end

function K.seal(real, name)
  local proxy = {}
  sealed[proxy] = name
  return setmetatable(proxy, { __index = real, __newindex = refuse, __metatable = "read-only" })
end

-- ── the base functions that need a guard ────────────────────────────────────────────────────────────

local G = {}      -- the script's globals
K.globals = G
K.orcs = {}        -- the host functions; std/ fills it
K.fields = {}      -- fields of orcs that are functions of no argument, asked at each reading

-- Raises at the line that called the public function `name`, whose argument `n` should be a `wanted`.
local function expect(v, wanted, n, name)
  if type(v) ~= wanted then
    error("bad argument #" .. n .. " to '" .. name .. "' (" .. wanted .. " expected, got "
      .. (v == nil and "no value" or type(v)) .. ")", 3)
  end
end
K.expect = expect

local ordinals, last_ordinal = setmetatable({}, { __mode = "k" }), 0

-- As Lua's tostring, with a number of its own in place of an address: addresses help an attacker.
function K.tostring(v)
  local ty = type(v)
  if ty ~= "table" and ty ~= "function" and ty ~= "thread" and ty ~= "userdata" then return tostring(v) end
  local name = ty
  if ty == "table" then
    local mt = true_metatable(v) -- also behind a __metatable, as Lua's own tostring
    if mt then
      if rawget(mt, "__tostring") ~= nil then return tostring(v) end
      local own = rawget(mt, "__name")
      if type(own) == "string" then name = sub(own, 1, 100) end
    end
  end
  local n = ordinals[v]
  if not n then
    last_ordinal = last_ordinal + 1
    n = last_ordinal
    ordinals[v] = n
  end
  return format("%s: 0x%08x", name, n)
end

function G.tostring(...)
  local v = ...
  local ty = type(v)
  if ty == "string" then return v end
  if ty == "number" then return tostring(v) end
  if v == nil and select("#", ...) == 0 then error("bad argument #1 to 'tostring' (value expected)", 2) end
  return (K.tostring(v)) -- no tail call: complaints.lua finds this frame
end

local hidden = { [K.values.ARRAY] = true } -- metatables that no script sees

function G.getmetatable(...)
  local t = ...
  if type(t) ~= "table" then
    if t == nil and select("#", ...) == 0 then error("bad argument #1 to 'getmetatable' (value expected)", 2) end
    return nil
  end
  local mt = getmetatable(t)
  if hidden[mt] then return nil end
  return mt
end

-- A table that gets a new metatable in place of another keeps it alive here: Lua 5.4.8 may collect the
-- metatable of an all-weak table while it is in use (lua/lua 1b0f943d).
local anchors = setmetatable({}, { __mode = "k" })

local function set_again(t, mt)
  if type(mt) == "table" and rawget(mt, "__gc") ~= nil then
    error("setmetatable: __gc is not available in this sandbox", 3)
  end
  local old = getmetatable(t)
  setmetatable(t, mt)
  if old ~= nil then anchors[t] = mt end
  return t
end

function G.setmetatable(t, mt)
  if mt ~= nil and getmetatable(t) == nil and rawget(mt, "__gc") == nil then return setmetatable(t, mt) end
  return (set_again(t, mt))
end

K.other_guards = { [G.setmetatable] = { "setmetatable", setmetatable, "nil or table" }, [G.tostring] = { "tostring", tostring } }

function G.rawset(t, k, v)
  expect(t, "table", 1, "rawset")
  if sealed[t] or rawequal(t, K.values.NULL) then
    error("attempt to change the read-only table '" .. (sealed[t] or "null") .. "'", 2)
  end
  return rawset(t, k, v)
end

-- The collector is the host's: what Lua answers when nothing is to do.
local collector = {
  collect = 0, stop = 0, restart = 0, step = true, isrunning = true, setpause = 200, setstepmul = 100,
  incremental = "incremental", generational = "incremental",
}

function G.collectgarbage(option)
  if option == "count" then return base.collectgarbage("count") end
  local answer = collector[option == nil and "collect" or option]
  if answer == nil then
    if type(option) ~= "string" then expect(option, "string", 1, "collectgarbage") end
    error("bad argument #1 to 'collectgarbage' (invalid option '" .. sub(option, 1, 100) .. "')", 2)
  end
  return answer
end

-- ── load ────────────────────────────────────────────────────────────────────────────────────────────

-- Compiles text (never bytecode) to a function, or nil and Lua's message.
function K.compile(text, name, env)
  if #text > MAIN_BYTES then
    return nil, format("%s is %d bytes long; a script or module may have %d", name, #text, MAIN_BYTES)
  end
  if #text > LOAD_BYTES then
    K.need("boot/load.lua")
    if K.has_jumps(text, MAIN_JUMPS) then
      return nil, name .. ": too many and/or/elseif/goto/break in one chunk (more than " .. MAIN_JUMPS .. "); split it in modules"
    end
  end
  local f, message = raw_load(text, "=" .. name, "t", env or G)
  -- Too deep a nesting is raised, not thrown: the task's message handler has already made a table of it.
  if not f and type(message) == "table" then message = name .. ": nested too deeply (" .. message.message .. ")" end
  return f, message
end

K.later(K, "load", "boot/load.lua")
K.later(K, "require", "std/modules.lua")
G.load, G.require = K.load, K.require

-- ── the clock a script reads ────────────────────────────────────────────────────────────────────────

-- The host stamps every message with the time; os.time and os.date read the stamp, so they cost nothing, a
-- run can be replayed, and no timer is fine enough to spy with. orcs.now() asks the host.
K.now_s = 0

local function os_time(t)
  if t == nil then return K.now_s // 1 | 0 end
  expect(t, "table", 1, "time")
  K.need("boot/complaints.lua")
  return (time(t)) -- no tail call: complaints.lua finds this frame
end

local function os_date(spec, at)
  if spec == nil then spec = "%c" end
  if type(spec) == "number" then spec = tostring(spec) end
  expect(spec, "string", 1, "date")
  if #spec > 200 then error("bad argument #1 to 'date' (format longer than 200 bytes)", 2) end
  if at == nil then at = K.now_s // 1 | 0 end
  return (date(spec, at))
end

K.other_guards[os_time], K.other_guards[os_date] = { "time", time }, { "date", date }

-- ── put together ────────────────────────────────────────────────────────────────────────────────────

-- Builds the script's globals; called once, after every library is there.
function K.build_globals()
  for _, name in next, { "assert", "error", "ipairs", "next", "pairs", "rawequal", "rawget", "rawlen", "select", "tonumber", "type" } do
    G[name] = base[name]
  end
  G._VERSION = base._VERSION
  G._G = G
  G.pcall, G.xpcall = K.pcall, K.xpcall
  K.libs.string, K.libs.table = K.promised("boot/strings.lua"), K.promised("boot/tables.lua")
  K.libs.coroutine = K.promised("boot/coroutines.lua")
  K.libs.math, K.libs.utf8 = K.raw.math, K.raw.utf8 -- every one of utf8 is linear in its arguments
  K.libs.os = { time = os_time, date = os_date, clock = clock, difftime = raw_os.difftime }
  for name, lib in next, K.libs do G[name] = K.seal(lib, name) end
  rawset(string_metatable, "__index", K.libs.string)
end

-- Empties Lua's real globals and its list of loaded libraries: lupa looks `debug` up there before every call, and its `python`
-- table is there. What nothing of ours holds (io, package, python) is collected.
function K.empty_real_globals(real)
  for _, t in next, { real.package.loaded, real } do
    local names = {}
    for k in next, t do names[#names + 1] = k end
    for _, k in next, names do t[k] = nil end
  end
end
