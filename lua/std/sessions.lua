-- The VM's own conversations: orcs.llm_dump_sessions, orcs.llm_load_sessions.
--
-- They live in the host; what comes here is a copy. No grant is needed: nothing leaves the VM's own store.

local K = ...
local call, encode, orcs = K.call, K.encode, K.orcs
local invalid, expect, expect_options = K.invalid, K.expect, K.expect_options

function orcs.llm_dump_sessions() return call("sessions.dump", "\xc0") end

function orcs.llm_load_sessions(json, opts)
  expect(json, "string", 1, "llm_load_sessions")
  expect_options(opts, 2, "llm_load_sessions")
  local args, message, field = encode({ json = json, opts = opts or {} })
  if not args then return invalid(message, field) end
  return call("sessions.load", args)
end
