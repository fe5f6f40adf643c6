-- What happened, and who lives: orcs.emit_event, board_recent, output_with_level, is_alive, request_stop, spawn_runner.
--
-- An event is for those above to look at; nothing runs because of it. A runner is a child like any other, in the upstream's
-- words: under the grant spawn, holding what its caps say.

local K = ...
local type, error, next, sub = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.raw.string.sub
local call, encode, ask, expect, orcs = K.call, K.encode, K.ask, K.expect, K.orcs

local RECENT = 100

function orcs.emit_event(category, operation, payload)
  expect(category, "string", 1, "emit_event")
  expect(operation, "string", 2, "emit_event")
  local args, message = encode({ category = category, operation = operation, payload = payload })
  if not args then error("bad argument #3 to 'emit_event' (" .. message .. ")", 2) end
  return call("event.emit", args) == true
end

function orcs.board_recent(n)
  if n == nil then n = RECENT end
  if type(n) ~= "number" or n ~= n // 1 or n < 0 or n > 1 << 53 then
    error("bad argument #1 to 'board_recent' (a whole number from 0 on expected)", 2)
  end
  return call("event.recent", (encode({ count = n // 1 | 0 })))
end

function orcs.output_with_level(text, level)
  expect(text, "string", 1, "output_with_level")
  expect(level, "string", 2, "output_with_level")
  return orcs.log(level, text)
end

function orcs.is_alive(path)
  expect(path, "string", 1, "is_alive")
  return call("is_alive", (encode({ path = path }))) == true
end

function orcs.request_stop() return call("request_stop", "\xc0") end

-- Its globals are set before the script's first line; they come as the input, so they are copies.
local GLOBALS = "for k, v in next, (...) or {} do _G[k] = v end "

-- {script, id, globals, caps, limits} → {ok, channel_id, fqn, error}. There are no builtins here.
function orcs.spawn_runner(spec)
  expect(spec, "table", 1, "spawn_runner")
  local given, sent = { script = true, builtin = true, id = true, globals = true, caps = true, limits = true }, {}
  for k, v in next, spec do
    if not given[k] then return K.invalid(K.tostring(k) .. ": unknown option", K.tostring(k)) end
    sent[k] = v
  end
  if type(sent.script) ~= "string" then return K.invalid("script: Lua text expected; there are no builtins here", "script") end
  sent.script, sent.builtin = GLOBALS .. sent.script, nil
  sent.input, sent.globals = sent.globals, nil
  sent.id = sent.id or "runner-" .. sub(call("uuid", "\xc0"), 1, 8)
  local result = ask("spawn_child", sent)
  if result.ok then result.channel_id, result.fqn = result.id, result.name end
  return result
end
