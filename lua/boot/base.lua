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
local format, sub, gsub, find, match = K.raw.string.format, K.raw.string.sub, K.raw.string.gsub, K.raw.string.find, K.raw.string.match
local concat, date, time = K.raw.table.concat, raw_os.date, raw_os.time
local pcall, look = base.pcall, K.look
local clock = raw_os.clock

local LOAD_BYTES = 64 * 1024     -- what load() compiles at most: the parser is quadratic, and no hook runs in it
local MAIN_BYTES = 256 * 1024    -- the same for a script or a module
local MAIN_JUMPS = 20000         -- and, or, elseif, goto, break, :: in it, the quadratic ones
local LOAD_JUMPS = 5000          -- the same for load(), which a script may call in a loop: 50 ms each

-- ── read-only tables ────────────────────────────────────────────────────────────────────────────────

local sealed = setmetatable({}, { __mode = "k" })

function K.seal(real, name)
  local proxy = {}
  sealed[proxy] = name
  return setmetatable(proxy, {
    __index = real,
    __newindex = function(_, k)
      error("attempt to change the read-only table '" .. name .. "' (field '" .. K.tostring(k) .. "')", 2)
    end,
    __metatable = "read-only",
  })
end

-- ── the base functions that need a guard ────────────────────────────────────────────────────────────

local G = {}      -- the script's globals
K.globals = G
K.orcs = {}        -- the host functions; std/ fills it
K.fields = {}      -- fields of orcs that are functions of no argument, asked at each reading

local function expect(v, wanted, n, name)
  if type(v) ~= wanted then
    error("bad argument #" .. n .. " to '" .. name .. "' (" .. wanted .. " expected, got "
      .. (v == nil and "no value" or type(v)) .. ")", 3)
  end
end

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
  return K.tostring(v)
end

local hidden = { [K.values.ARRAY] = true } -- metatables that no script sees

function G.getmetatable(t)
  if type(t) ~= "table" then return nil end
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

K.other_guards[G.setmetatable] = { "setmetatable", setmetatable, "nil or table" }

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

-- As Lua shows it: `=name` and `@name` as they are, a text as [string "its first line..."]; nothing unprintable.
local function chunk_name(name)
  local head = match(sub(name, 1, 80), "^[^\n]*")
  return gsub(head, "%c", "?") .. (#head < #name and "\n" or "")
end

-- Whether the text has more than `max` of the words that make the parser quadratic.
local function has_jumps(text, max)
  local _, jumps = gsub(text, "::", "")
  for _, word in next, { "and", "or", "elseif", "goto", "break" } do
    local _, n = gsub(text, "%f[%w_]" .. word .. "%f[^%w_]", "")
    jumps = jumps + n
  end
  return jumps > max
end

-- Compiles text (never bytecode) to a function, or nil and Lua's message.
function K.compile(text, name, env)
  if #text > MAIN_BYTES then
    return nil, format("%s is %d bytes long; a script or module may have %d", name, #text, MAIN_BYTES)
  end
  if #text > LOAD_BYTES then
    if has_jumps(text, MAIN_JUMPS) then
      return nil, name .. ": too many and/or/elseif/goto/break in one chunk (more than " .. MAIN_JUMPS .. "); split it in modules"
    end
  end
  local f, message = raw_load(text, "=" .. name, "t", env or G)
  -- Too deep a nesting is raised, not thrown: the task's message handler has already made a table of it.
  if not f and type(message) == "table" then message = name .. ": nested too deeply (" .. message.message .. ")" end
  return f, message
end

local function collect(reader)
  local parts, n, total = {}, 0, 0
  while true do
    local ok, piece = K.pcall(reader)
    if not ok then return nil, piece end
    if piece == nil or piece == "" then return concat(parts, "", 1, n) end
    if type(piece) ~= "string" then return nil, "reader function must return a string" end
    n, total = n + 1, total + #piece
    if total > LOAD_BYTES or n > LOAD_BYTES then return nil, "chunk too large: load takes " .. LOAD_BYTES .. " bytes" end
    parts[n] = piece
  end
end

function G.load(chunk, name, mode, ...)
  local text = chunk
  if type(chunk) == "function" then
    local message
    text, message = collect(chunk)
    if not text then return nil, message end
  elseif type(chunk) ~= "string" then
    error("bad argument #1 to 'load' (function expected, got " .. (chunk == nil and "no value" or type(chunk)) .. ")", 2)
  end
  if #text > LOAD_BYTES then return nil, "chunk too large: load takes " .. LOAD_BYTES .. " bytes" end
  if name == nil then
    name = type(chunk) == "string" and text or "=(load)"
  elseif type(name) == "number" then
    name = tostring(name)
  else
    expect(name, "string", 2, "load")
  end
  if mode ~= nil then expect(mode, "string", 3, "load") end
  if mode ~= nil and not find(mode, "t", 1, true) then
    return nil, "attempt to load a text chunk (mode is '" .. mode .. "')"
  end
  local env = G
  if select("#", ...) > 0 then env = (...) end
  if #text > 4096 then
    if #text > 4 * LOAD_JUMPS and has_jumps(text, LOAD_JUMPS) then
      return nil, "chunk too large: load takes " .. LOAD_JUMPS .. " and/or/elseif/goto/break"
    end
    look() -- no hook runs in the parser
  end
  -- Under pcall, which has no message handler: too deep a nesting is raised inside, and one would change the message.
  local _, f, message = pcall(raw_load, text, chunk_name(name), "t", env)
  if f then return f end
  return nil, message
end

K.load = G.load -- scripts may replace theirs

-- ── the clock a script reads ────────────────────────────────────────────────────────────────────────

-- The host stamps every message with the time; os.time and os.date read the stamp, so they cost nothing, a
-- run can be replayed, and no timer is fine enough to spy with. orcs.now() asks the host.
K.now_s = 0

local function os_time(t)
  if t == nil then return K.now_s // 1 | 0 end
  expect(t, "table", 1, "time")
  return time(t)
end

local function os_date(spec, at)
  if spec == nil then spec = "%c" end
  expect(spec, "string", 1, "date")
  if #spec > 200 then error("bad argument #1 to 'date' (format longer than 200 bytes)", 2) end
  if at == nil then at = K.now_s // 1 | 0 end
  return date(spec, at)
end

-- ── put together ────────────────────────────────────────────────────────────────────────────────────

-- Builds the script's globals; called once, after every library is there.
function K.build_globals()
  for _, name in next, { "assert", "error", "ipairs", "next", "pairs", "rawequal", "rawget", "rawlen", "select", "tonumber", "type" } do
    G[name] = base[name]
  end
  G._VERSION = base._VERSION
  G._G = G
  G.pcall, G.xpcall = K.pcall, K.xpcall
  K.libs.math = K.raw.math
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
