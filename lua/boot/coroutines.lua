-- Coroutines that let two kinds of yield pass without mixing: the script's own, and calls to the host.
--
-- A call to the host is a yield tagged with a private table. A script that resumes a coroutine which makes
-- such a call never sees it: the wrapped resume passes it further up, to the task the host started, and hands
-- the answer back down. So `orcs.llm` works inside any generator, and a generator yields only its own values.

local K = ...
local error = K.raw.base.error
local setmetatable, rawequal = K.raw.base.setmetatable, K.raw.base.rawequal
local create, resume, yield = K.raw.coroutine.create, K.raw.coroutine.resume, K.raw.coroutine.yield
local status, running, close = K.raw.coroutine.status, K.raw.coroutine.running, K.raw.coroutine.close
local isyieldable = K.raw.coroutine.isyieldable
local kill_check, watch, pass_result, failed = K.kill.check, K.kill.watch, K.kill.pass, K.kill.failed
local dead, KILL, look = K.kill.dead, K.kill.KILL, K.look

local expect = K.expect
local HOST, tasks, waiting, resumed = K.HOST, K.tasks, K.waiting, K.resumed

local raised -- the last error of a coroutine, before it was explained

local function pass(co, ok, ...)
  if ok and (...) == HOST then
    waiting[co], resumed[running()] = true, co
    return pass(co, resume(co, yield(...))) -- a tail call: the stack does not grow with the calls
  end
  if waiting[co] then waiting[co], resumed[running()] = nil, nil end
  if dead[1] then error(KILL, 0) end
  if ok then return true, ... end
  raised = ...
  return failed(K.explain(raised, co))
end

local function guarded_resume(co, ...)
  if dead[1] then error(KILL, 0) end
  if tasks[co] or waiting[co] then
    return false, "cannot resume non-suspended coroutine"
  end
  return pass(co, resume(co, ...))
end

local LOOK_EVERY = 16 -- coroutines made between two looks at the clock
local made = 0

-- A coroutine under the hook. Each begins to count anew, so a tree of coroutines that are all short would never meet the clock.
local function begun(f)
  made = made + 1
  if made == LOOK_EVERY then
    made = 0
    look()
  end
  return watch(create(f))
end

local lib = K.libs.coroutine or {}

function lib.create(f)
  kill_check()
  expect(f, "function", 1, "create")
  return begun(f)
end

function lib.resume(co, ...)
  expect(co, "thread", 1, "resume")
  return guarded_resume(co, ...)
end

function lib.yield(...)
  local co, is_main = running()
  if is_main or tasks[co] then
    error("attempt to yield from outside a coroutine", 2)
  end
  return yield(...)
end

local function unwrap(co, ok, ...)
  if ok then return ... end
  local e = ...
  if status(co) == "dead" then
    local closed, e2 = pass_result(close(co))
    if not closed and not rawequal(e2, raised) then e = e2 end
  end
  error(e, 2) -- as Lua's own wrap: a text gains the position of the caller
end

-- unwrap(co, pass(…)), at once where there is nothing to pass.
local function pass_wrapped(co, ok, ...)
  if ok and (...) ~= HOST and not waiting[co] and not dead[1] then return ... end
  return unwrap(co, pass(co, ok, ...))
end

function lib.wrap(f)
  kill_check()
  expect(f, "function", 1, "wrap")
  local co = begun(f)
  return function(...)
    if dead[1] or waiting[co] then return unwrap(co, guarded_resume(co, ...)) end
    return pass_wrapped(co, resume(co, ...))
  end
end

function lib.status(co)
  expect(co, "thread", 1, "status")
  local s = status(co)
  if s == "suspended" and (waiting[co] or tasks[co]) then return "normal" end
  return s
end

function lib.running()
  local co, is_main = running()
  return co, is_main or tasks[co] == true
end

function lib.isyieldable(co)
  if co ~= nil then expect(co, "thread", 1, "isyieldable") end
  if co == nil then co = running() end
  return not tasks[co] and isyieldable(co)
end

function lib.close(co)
  kill_check()
  expect(co, "thread", 1, "close")
  local s = status(co)
  if s == "running" or s == "normal" or tasks[co] or waiting[co] then
    error("cannot close a " .. (s == "running" and s or "normal") .. " coroutine", 2)
  end
  return pass_result(close(co))
end

K.libs.coroutine = setmetatable(lib, nil)
