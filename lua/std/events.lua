-- What happened, and how one goes: orcs.emit_event, board_recent, output_with_level, is_alive, request_stop.
--
-- An event is for those above to look at; nothing runs because of it. None of these needs a grant.

local K = ...
local type, error = K.raw.base.type, K.raw.base.error
local call, encode, expect, orcs = K.call, K.encode, K.expect, K.orcs

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
