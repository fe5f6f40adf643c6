-- The kill switch: a script that is over its CPU or memory limit ends, and nothing in Lua catches it.
--
-- A count hook in every coroutine looks at the CPU clock, more often while its instructions are slow. Once it fires it is
-- sticky: the flag stays, the hook re-arms on every instruction, and each wrapped function that could swallow an error
-- raises it again.
-- What no hook reaches (one long C call) is ended by the host, which kills the process.
-- Idea: redis script_lua.c (re-arm after a kill); php-luasandbox (fatal errors pass through pcall).

local K = ...
local error, type, xpcall = K.raw.base.error, K.raw.base.type, K.raw.base.xpcall
local sethook, getinfo, clock = K.raw.debug.sethook, K.raw.debug.getinfo, K.raw.os.clock
local find = K.raw.string.find

local KILL = {}          -- the error value of a kill; private, so no script can raise or recognise it
local EVERY, FEW = 1000, 1 -- VM instructions between two looks at the clock; while they are slow
local SLOW_S = 0.001     -- between two looks: FEW from then on
local QUICK = 100        -- looks in a row that see no slow instruction, until EVERY again: the clock may move in ticks
local NO_MEMORY = "not enough memory"

local killed = false     -- false, or the reason: "cpu", "memory"
local dead = {}          -- [1] is true once it is killed: for those who look often
local killed_at = ""     -- chunk:line where the script was
local deadline = 0       -- os.clock() value at which the activation's CPU is used up
local looked, quick = 0, 0 -- os.clock() value of the last look; how many were quick since one was not

-- chunk:line of the innermost script frame at or above `level`; "" when there is none.
local function script_position(level)
  while true do
    local info = getinfo(level, "Sl")
    if not info then return "" end
    if info.what ~= "C" and info.currentline > 0 then -- our own files are stripped: they have no lines
      return info.short_src .. ":" .. info.currentline
    end
    level = level + 1
  end
end

local function die(reason)
  if not killed then
    killed, dead[1] = reason, true
    killed_at = script_position(3)
  end
  error(KILL, 0)
end

local hook, watch_closely

-- The time of a look that finds the script alive.
local function alive_at()
  local now = clock()
  if killed or now > deadline then
    sethook(hook, "", 1)
    die("cpu")
  end
  return now
end

function hook()
  local now = alive_at()
  if now - looked > SLOW_S then
    quick = 0
    sethook(watch_closely, "", FEW)
    now = clock() -- it goes through the whole stack
  end
  looked = now
end

function watch_closely()
  local now = alive_at()
  quick = now - looked > SLOW_S and 0 or quick + 1
  if quick > QUICK then
    sethook(hook, "", EVERY)
    now = clock()
  end
  looked = now
end

local function watch(co)
  sethook(co, hook, "", EVERY)
  return co
end

-- What a failed call gives, unless it hides a kill. Out of memory is a kill too: a script that could catch it would spin on
-- emergency collections for ever.
local function failed(e)
  if e == NO_MEMORY then die("memory") end
  if type(e) == "userdata" then return false, "internal error" end
  return false, e
end

-- Passes the results of a protected call on.
local function pass(ok, ...)
  if killed then error(KILL, 0) end
  if ok then return ok, ... end -- as many as there are: select("#", pcall(f)) is 1 when f returns nothing
  return failed(...)
end

-- A message handler, until boot/complaints.lua, which the guarded libraries bring with them, puts its own here. It may have
-- come since this one was handed to xpcall.
local function explain(e, co, above)
  if K.explain == explain then
    if type(e) ~= "string" or not find(e, " to '?' ", 1, true) then return e end
    K.need("boot/complaints.lua")
  end
  return K.explain(e, co, above)
end
K.explain = explain

function K.pcall(f, ...) return pass(xpcall(f, K.explain, ...)) end

function K.xpcall(f, handler, ...)
  if type(handler) ~= "function" then
    error("bad argument #2 to 'xpcall' (function expected, got " .. (handler == nil and "no value" or type(handler)) .. ")", 2)
  end
  return pass(xpcall(f, function(e)
    if killed or e == NO_MEMORY then return e end
    return handler((K.explain(e, nil, 1)))
  end, ...))
end

K.kill = {
  KILL = KILL,
  dead = dead,
  watch = watch,
  die = die,
  pass = pass,
  failed = failed,
  script_position = script_position,
  -- Opens an activation's budget: seconds of CPU from now on.
  arm = function(seconds)
    looked = clock()
    deadline = looked + seconds
  end,
  deadline = function() return deadline end,
  arm_until = function(at_s) deadline = at_s end,
  -- Whether the script is dead, or has just died of its deadline. For our own loop, in which no hook runs.
  over = function()
    if not killed and clock() > deadline then killed, dead[1] = "cpu", true end
    return killed
  end,
  reason = function() return killed, killed_at end,
  check = function() if killed then error(KILL, 0) end end,
}

-- A look at the clock, at once: before or after a call of C that may take milliseconds. Else the few instructions between such
-- calls would let dozens of them pass between two looks.
K.look = hook
