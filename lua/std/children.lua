-- Children: orcs.spawn_child and what is done with a child afterwards, under its id or through its handle.
--
-- A handle is the result of spawn_child, {ok=true, id, name}, with methods: child:send(v), child:run(v) … It is no
-- more than the id: the host finds a child below the script that asks, and nowhere else.

local K = ...
local type, error, rawget, setmetatable = K.raw.base.type, K.raw.base.error, K.raw.base.rawget, K.raw.base.setmetatable
local next, array = K.raw.base.next, K.values.array
local call, encode, orcs = K.call, K.encode, K.orcs
local expect, expect_options = K.expect, K.expect_options

-- What cannot leave the VM is an answer too: the caller asked something of a child.
local function ask(op, args)
  local encoded, message, field = encode(args)
  if not encoded then
    return { ok = false, error = message, error_kind = "invalid_input", retryable = false, detail = { field = field } }
  end
  return call(op, encoded)
end

-- An empty table is a list here.
local function list(t)
  if next(t) == nil then return array {} end
  return t
end

local methods = {}
local HANDLE = { __index = methods, __name = "child", __metatable = "child" }

local function handle(result)
  if result.ok then setmetatable(result, HANDLE) end
  return result
end

-- The id in a handle; raises at the line that called the method `name` with something else.
local function id_of(self, name)
  local id = type(self) == "table" and rawget(self, "id")
  if type(id) ~= "string" then error("child:" .. name .. "(…) expected, with a child's handle before the colon", 3) end
  return id
end

function methods.send(self, message) return ask("child.send", { id = id_of(self, "send"), message = message }) end

function methods.send_async(self, message)
  return ask("child.send_async", { id = id_of(self, "send_async"), message = message })
end

function methods.run(self, message) return ask("child.run", { id = id_of(self, "run"), message = message }) end

function methods.request(self, operation, payload, opts)
  local id = id_of(self, "request")
  return orcs.request(id, operation, payload, opts)
end

function methods.signal(self, kind, reason)
  local id = id_of(self, "signal")
  expect(kind, "string", 1, "signal")
  return ask("child.signal", { id = id, kind = kind, reason = reason })
end

function methods.revoke(self, kind)
  local id = id_of(self, "revoke")
  expect(kind, "string", 1, "revoke")
  return ask("child.revoke", { id = id, kind = kind })
end

function methods.cancel(self) return ask("child.cancel", { id = id_of(self, "cancel") }) end
function methods.close(self) return ask("child.close", { id = id_of(self, "close") }) end
function methods.snapshot(self) return ask("child.snapshot", { id = id_of(self, "snapshot") }) end
function methods.usage(self) return ask("child.usage", { id = id_of(self, "usage") }) end

-- The word alone; nil when there is no such child, nor was.
function methods.status(self) return ask("child.status", { id = id_of(self, "status") }).status end

function orcs.spawn_child(spec)
  expect(spec, "table", 1, "spawn_child")
  return handle(K.ask("spawn_child", spec))
end

-- The handle of a child, or of one below it: orcs.child("worker/helper").
function orcs.child(id)
  expect(id, "string", 1, "child")
  return handle { ok = true, id = id }
end

function orcs.children() return call("child.list", "\xc0") end
function orcs.child_count() return call("child.count", "\xc0").count end
function orcs.max_children() return call("child.count", "\xc0").max end

function orcs.send_to_child(id, message)
  expect(id, "string", 1, "send_to_child")
  return ask("child.send", { id = id, message = message })
end

function orcs.send_to_child_async(id, message)
  expect(id, "string", 1, "send_to_child_async")
  return ask("child.send_async", { id = id, message = message })
end

function orcs.child_result(ticket, opts)
  expect(ticket, "string", 1, "child_result")
  expect_options(opts, 2, "child_result")
  return ask("child.result", { ticket = ticket, opts = opts or {} })
end

function orcs.send_to_children_batch(ids, inputs)
  expect(ids, "table", 1, "send_to_children_batch")
  expect(inputs, "table", 2, "send_to_children_batch")
  return ask("child.batch", { ids = list(ids), inputs = list(inputs) })
end

local function unsuccessful(answer)
  if answer.ok == false then answer.success = false end
  return answer
end

function orcs.request(target, operation, payload, opts)
  expect(target, "string", 1, "request")
  expect(operation, "string", 2, "request")
  expect_options(opts, 4, "request")
  return unsuccessful(ask("child.request", { target = target, operation = operation, payload = payload, opts = opts or {} }))
end

function orcs.request_batch(requests)
  expect(requests, "table", 1, "request_batch")
  return unsuccessful(ask("child.request_batch", { requests = list(requests) }))
end

-- A line to the host, as orcs.output; with a level, as orcs.log.
function orcs.emit_output(message, level)
  if level == nil then return orcs.output(message) end
  return orcs.log(level, message)
end
