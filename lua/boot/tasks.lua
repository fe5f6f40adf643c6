-- The machine's inside: messages from the host in, what the VM now wants out.
--
-- A task is one activation of the script (load, run, request, signal …) in a coroutine of its own. While it
-- runs it may call the host: the call leaves as bytes, the task sleeps, and the reply wakes it. Several tasks
-- can sleep at once. This file knows no operation by name; vm/frames.py describes the same bytes in Python.

local K = ...
local base, kill = K.raw.base, K.kill
local type, error, xpcall, next = base.type, base.error, base.xpcall, base.next
local rawget, collectgarbage, pcall, select = base.rawget, base.collectgarbage, base.pcall, base.select
local create, resume, yield, status = K.raw.coroutine.create, K.raw.coroutine.resume, K.raw.coroutine.yield, K.raw.coroutine.status
local close, isyieldable = K.raw.coroutine.close, K.raw.coroutine.isyieldable
local pack, unpack, sub, find = K.raw.string.pack, K.raw.string.unpack, K.raw.string.sub, K.raw.string.find
local gmatch, gsub = K.raw.string.gmatch, K.raw.string.gsub
local concat, clock, traceback = K.raw.table.concat, K.raw.os.clock, K.raw.debug.traceback
local HOST, is_task = K.HOST, K.tasks
local encode, decode = K.encode, K.decode

local ERROR_BYTES = 2000     -- of an error's text, and of its traceback twice that
local CLOSE_S = 0.1          -- CPU seconds that <close> variables of a cancelled task may use

local CALL, ACK = 1, 2       -- why a task yields to the host

local tasks = {}             -- id → {co=, call=} of what is not finished
local open = 0               -- how many
local calls = {}             -- call id → task that sleeps on it
local last_call = 0
local out, wanted            -- what this step has to say
local script                 -- what the chunk returned
local budget_s               -- CPU seconds an activation may use
local used_s = 0             -- of the current activation
local closing = false

-- ── what leaves ─────────────────────────────────────────────────────────────────────────────────────

local function int(n) return pack(">Bi8", 0xd3, n) end

local function bytes(s) return pack(">Bs4", 0xc6, s) end -- as bytes: an error's text need not be UTF-8

local function say(...)
  wanted = wanted + 1
  out[wanted] = concat({ ... })
end

-- ── calls to the host ───────────────────────────────────────────────────────────────────────────────

-- Calls operation `op` with encoded arguments and returns the host's reply, decoded. `on_events` is given
-- each batch of a streaming answer's events and says whether to go on.
function K.call(op, args, on_events)
  if not isyieldable() then
    error("orcs: the host cannot be called here: inside __tostring, __gc, a message handler or another function "
      .. "that Lua calls from C; call it before and pass the result in", 3)
  end
  if closing then error("orcs: the host cannot be called while the task is being closed", 3) end
  local final, payload, id = yield(HOST, CALL, op, args)
  while not final do
    local ok, go_on = K.pcall(on_events, decode(payload))
    if not ok then
      repeat final, payload = yield(HOST, ACK, id, false) until final
      error(go_on, 0)
    end
    final, payload = yield(HOST, ACK, id, go_on ~= false)
  end
  return decode(payload)
end

-- ── errors on their way out ─────────────────────────────────────────────────────────────────────────

local function short(s, n)
  if #s <= n then return s end
  return sub(s, 1, n) .. " …"
end

-- Lua's traceback without our own frames, which are stripped and so have no name and no line.
local function script_traceback(message)
  local lines, n = {}, 0
  for line in gmatch(traceback(message, 2), "[^\n]+") do
    if not find(line, "^\t%?:") and not find(line, "^\t%[C%]: in .*%?") and not find(line, "^\t%[C%]: in %a+ 'error'")
      and not find(line, "^\t%(%.%.%.tail calls%.%.%.%)") then
      n = n + 1
      lines[n] = line
    end
  end
  return concat(lines, "\n")
end

local function text_of_error(e)
  local ty = type(e)
  if ty == "string" then return e end
  if ty == "table" then
    local message = rawget(e, "error") or rawget(e, "message")
    if type(message) == "string" then return message end
    local ok, s = K.pcall(K.tostring, e)
    if ok and type(s) == "string" and not find(s, "^[^:]*: 0x") then return s end
    return "the script raised a table that has no text"
  end
  return "the script raised a " .. ty .. " value: " .. K.tostring(e)
end

K.text_of_error = text_of_error

local function handler(e)
  if kill.reason() or e == "not enough memory" then return e end
  local where = kill.script_position(3)
  -- What Lua raises inside a library function of ours is put down to the line that called it.
  local text = gsub(text_of_error(e), "^%?:%-1:", function() return where .. ":" end, 1)
  local message = short(text, ERROR_BYTES)
  local error_kind = type(e) == "table" and rawget(e, "error_kind")
  return {
    message = message,
    where = where,
    traceback = short(script_traceback(message), 2 * ERROR_BYTES),
    error_kind = type(error_kind) == "string" and short(error_kind, 64) or "",
  }
end

local function failed(id, failure)
  say("\x97\x03", int(id), bytes(failure.kind or "script_error"), bytes(failure.message), bytes(failure.where or ""),
    bytes(failure.traceback or ""), bytes(failure.error_kind or ""))
end

-- ── tasks ───────────────────────────────────────────────────────────────────────────────────────────

-- Runs in the task's coroutine, so that encoding the result is paid by the script too.
local function body(f, ...)
  local ok, value = kill.pass(xpcall(f, handler, ...))
  if not ok then return false, value end
  local encoded, message = encode(value)
  if not encoded then return false, { kind = "invalid_result", message = "the result cannot leave the VM: " .. message } end
  return true, encoded
end

local function forget(id)
  local task = tasks[id]
  if task.call then calls[task.call] = nil end
  tasks[id] = nil
  open = open - 1
end

local function proceed(id, task, ...)
  local ok, a, b, c, d = resume(task.co, ...)
  if kill.reason() then return end
  if status(task.co) ~= "dead" then
    if b == CALL then
      last_call = last_call + 1
      task.call = last_call
      calls[last_call] = id
      say("\x95\x00", int(id), int(last_call), bytes(c), d)
    else
      task.call = c
      calls[c] = id
      say("\x93\x01", int(c), d and "\xc3" or "\xc2")
    end
    return
  end
  forget(id)
  if ok and a then
    say("\x93\x02", int(id), b)
  elseif ok then
    failed(id, b)
  else
    failed(id, { message = short(text_of_error(a), ERROR_BYTES) })
  end
end

local function begin(id, f, ...)
  open = open + 1
  local task = { co = kill.watch(create(body)) }
  tasks[id] = task
  is_task[task.co] = true
  return proceed(id, task, f, ...)
end

local function wake(call, final, payload)
  local id = calls[call]
  if not id then return end -- cancelled meanwhile
  local task = tasks[id]
  calls[call], task.call = nil, nil
  return proceed(id, task, final, payload, call)
end

local function cancel(id)
  local task = tasks[id]
  if not task then return end
  forget(id)
  closing = true
  kill.arm(CLOSE_S)
  pcall(close, task.co)
  closing = false
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
    for _, name in next, { "run", "on_request", "on_signal", "init", "shutdown", "snapshot", "restore" } do
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

-- ── one step ────────────────────────────────────────────────────────────────────────────────────────

local VERB = {}
-- load, start: entry's name and its argument
VERB[1] = function(id, payload)
  local name_length = unpack("B", payload)
  local f = entry[sub(payload, 2, 1 + name_length)]
  return begin(id, function(arg) return f(decode(arg)) end, sub(payload, 2 + name_length))
end
VERB[2] = function(call, payload) return wake(call, true, payload) end  -- the reply
VERB[3] = function(call, payload) return wake(call, false, payload) end -- events of a stream
VERB[4] = function(id) return cancel(id) end

local function killed_by(reason, at)
  local message
  if reason == "cpu" then
    message = K.raw.string.format("the CPU limit of %.4g s is used up", budget_s)
  else
    message = K.raw.string.format("the memory limit of %.4g MiB is used up", K.limits.memory_bytes / 1048576)
  end
  local failure = { kind = reason, message = message, where = at }
  for id in next, tasks do failed(id, failure) end
  if next(tasks) == nil then failed(0, failure) end -- task 0 stands for all: whoever speaks to the dead VM hears it
  tasks, calls, script, open = {}, {}, nil, 0
end

-- The one way in. message: verb (1 byte), host clock (8, float seconds), id (8), payload.
local function step(message)
  local verb, now_s, id, at = unpack("<Bdi8", message)
  K.now_s = now_s
  out, wanted = {}, 0
  local began = clock()
  if kill.reason() == false then
    if open == 0 then
      used_s = 0
      K.fresh_output()
    end
    kill.arm(budget_s - used_s)
    VERB[verb](id, sub(message, at))
  end
  local reason, position = kill.reason()
  if reason then killed_by(reason, position) end
  local spent = clock() - began
  used_s = used_s + spent
  say("\x95\x04", int(spent * 1000000 // 1 | 0), int(collectgarbage("count") * 1024 // 1 | 0), int(K.output_bytes()), int(K.output_dropped()))
  return pack(">BI2", 0xdc, wanted) .. concat(out, "", 1, wanted)
end

-- The host's first word: limits and the random seed. Comes once, before any script.
function K.open(message)
  local memory_bytes, cpu_s, output_bytes, value_bytes, seed_a, seed_b = unpack("<i8di8i8i8i8", message)
  K.limits.memory_bytes, K.limits.output_bytes, K.limits.value_bytes = memory_bytes, output_bytes, value_bytes
  budget_s = cpu_s
  K.raw.math.randomseed(seed_a, seed_b)
end

K.step = step
