-- The machine's inside: messages from the host in, what the VM now wants out.
--
-- A task is one activation of the script (load, run, request, signal …), in a strand of its own and as many more as
-- it opens (boot/strands.lua). While it runs it may call the host: the call leaves as bytes, the strand sleeps, and
-- the reply wakes it. Several tasks can sleep at once. This file knows no operation by name; vm/protocol.py describes
-- the same bytes in Python.

local K = ...
local base, kill, strands, wants = K.raw.base, K.kill, K.strands, K.wants
local type, error, xpcall, next = base.type, base.error, base.xpcall, base.next
local rawget, collectgarbage, select = base.rawget, base.collectgarbage, base.select
local unpack, sub, clock, max = K.raw.string.unpack, K.raw.string.sub, K.raw.os.clock, K.raw.math.max
local encode, decode, short, failure_of = K.encode, K.decode, K.short, K.failure_of
local say, int, bytes = wants.say, wants.int, wants.bytes

local tasks = {}             -- id → strand, of what has not ended
local open = 0               -- how many
local script                 -- what the chunk returned
local budget_s               -- CPU seconds an activation may use
local used_s = 0             -- of the current activation
local counted_s = 0          -- of it, what the last step counted of itself
local total_s, told_us = 0, 0 -- of the VM's life, and what the host was told of it

-- ── tasks ───────────────────────────────────────────────────────────────────────────────────────────

local function failed(id, failure)
  say("\x97\x03", int(id), bytes(failure.kind or "script_error"), bytes(failure.message), bytes(failure.where or ""),
    bytes(failure.traceback or ""), bytes(failure.error_kind or ""))
end

-- Runs in the task's coroutine, so that encoding the result is paid by the script too.
local function body(f, ...)
  local ok, value = kill.pass(xpcall(f, failure_of, ...))
  if not ok then return false, value end
  local encoded, message = encode(value)
  if not encoded then return false, { kind = "invalid_result", message = "the result cannot leave the VM: " .. message } end
  return true, encoded
end

local function over(id, ok, a, b)
  tasks[id], open = nil, open - 1
  if ok and a then
    say("\x93\x02", int(id), b)
  elseif ok then
    failed(id, type(b) == "table" and b or { message = short(b) })
  else
    failed(id, { message = short(K.text_of_error(a)) })
  end
end

local function begin(id, f, ...)
  open = open + 1
  local strand = { task = id, over = over }
  tasks[id] = strand
  return strands.begin(strand, body, f, ...)
end

local function cancel(id)
  local strand = tasks[id]
  if not strand then return end
  tasks[id], open = nil, open - 1
  strands.cancel(strand)
end

-- ── the script's shapes (UPSTREAM §1.1) ─────────────────────────────────────────────────────────────

local function handler_of(name)
  local f = type(script) == "table" and rawget(script, name)
  return type(f) == "function" and f or nil
end

local entry = {}

-- The chunk itself. Says what it turned out to be.
function entry.load(spec)
  local chunk, message = K.compile(spec.source, spec.name)
  if not chunk then error({ error_kind = "syntax_error", error = message }, 0) end
  local input = spec.input
  if base.rawequal(input, K.values.NULL) then input = nil end -- no input is nil, not null
  script = select(1, chunk)(input) -- a call of no name: tracebacks say "in main chunk"
  local has = {}
  if type(script) == "table" then
    for _, name in next, { "run", "on_request", "on_signal", "init", "shutdown", "snapshot", "restore", "abort" } do
      if handler_of(name) then has[name] = true end
    end
  end
  local id = type(script) == "table" and rawget(script, "id")
  return { type = type(script), has = has, id = type(id) == "string" and short(id, 64) or nil }
end

function entry.run(input)
  if type(script) == "function" then return script(input) end
  local run = handler_of("run")
  if run then return run(input) end
  local on_request = handler_of("on_request")
  if on_request then
    return on_request({ id = "run", operation = "run", category = "UserInput", payload = input })
  end
  return script
end

function entry.request(request)
  local on_request = handler_of("on_request")
  if not on_request then
    error({ error_kind = "not_runnable", error = "the script has no on_request(req); return a table that has one" }, 0)
  end
  return on_request(request)
end

function entry.handler(call)
  local f = handler_of(call.name)
  if f then return f(call.arg) end
end

-- The intents that the script registered, and a call of one, from outside (std/intents.lua).
function entry.intents() return K.registered and K.intents_served() or K.values.array {} end
function entry.intent(call) return K.serve_intent(call) end

-- ── one step ────────────────────────────────────────────────────────────────────────────────────────

local VERB = {}
-- load, start: entry's name and its argument
VERB[1] = function(id, payload)
  local name_length = unpack("B", payload)
  local f = entry[sub(payload, 2, 1 + name_length)]
  return begin(id, function(arg) return f(decode(arg)) end, sub(payload, 2 + name_length))
end
VERB[2] = function(call, payload) return strands.wake(call, true, payload) end  -- the reply
VERB[3] = function(call, payload) return strands.wake(call, false, payload) end -- events of a stream
VERB[4] = cancel
VERB[5] = function() end -- go on: there was more to say than fits in a step

local function killed_by(reason, at)
  local message
  if reason == "cpu" and K.calls.is_shut() then
    message = "the <close> variables of what was cancelled used more CPU than cancelling leaves them"
  elseif reason == "cpu" then
    message = K.raw.string.format("the CPU limit of %.4g s is used up", budget_s)
  else
    message = K.raw.string.format("the memory limit of %.4g MiB is used up", K.limits.memory_bytes / 1048576)
  end
  local failure = { kind = reason, message = message, where = at }
  failed(open == 1 and next(tasks) or 0, failure) -- task 0 stands for all: whoever speaks to the dead VM hears it
  tasks, script, open = {}, nil, 0
  strands.forget()
end

-- The one way in. message: verb (1 byte), host clock (8, float seconds), id (8), payload. `took_s`: the CPU that the step
-- before took in all, messages included, if somebody has a better clock: ours is the process's, which may stand still
-- while a step is short.
local function step(message, took_s)
  local verb, now_s, id, at = unpack("<Bdi8", message)
  K.now_s = now_s
  wants.begin_step()
  local began, late_s = clock(), (took_s or counted_s) - counted_s
  used_s, total_s = used_s + late_s, total_s + late_s
  if kill.reason() == false then
    if open == 0 then
      used_s = 0
      K.fresh_output()
    end
    kill.arm(budget_s - used_s)
    VERB[verb](id, sub(message, at))
    strands.settle()
  end
  local reason, position = kill.reason()
  if reason then killed_by(reason, position) end
  counted_s = clock() - began
  used_s, total_s = used_s + counted_s, total_s + counted_s
  local new_us = max((total_s * 1000000 // 1 | 0) - told_us, 0)
  told_us = told_us + new_us
  say("\x95\x04", int(new_us), int(collectgarbage("count") * 1024 // 1 | 0), int(K.output_bytes()), int(K.output_dropped()))
  return wants.end_step()
end

-- The host's first word: limits and the random seed. Comes once, before any script.
function K.open(message)
  local memory_bytes, cpu_s, output_bytes, value_bytes, seed_a, seed_b = unpack("<i8di8i8i8i8", message)
  K.limits.memory_bytes, K.limits.output_bytes, K.limits.value_bytes = memory_bytes, output_bytes, value_bytes
  budget_s = cpu_s
  K.raw.math.randomseed(seed_a, seed_b)
end

K.step = step
