-- What am I allowed to do, and may I do more? orcs.caps() → {kind = {constraints, used, remaining, …}}, orcs.can(kind, detail),
-- orcs.request_capability(kind, constraints, reason).
--
-- Reading one's own grants needs no grant, and asking for another neither: who decides is the host.

local K = ...
local error, call, encode, expect, orcs = K.raw.base.error, K.call, K.encode, K.expect, K.orcs

function orcs.caps() return call("caps", "\xc0") end

-- → true or false, and the decision: {allow, rule, …}
function orcs.can(kind, detail)
  expect(kind, "string", 1, "can")
  local args, message = encode({ kind = kind, detail = detail })
  if not args then error("bad argument #2 to 'can' (" .. message .. ")", 2) end
  local decision = call("can", args)
  return decision.allow == true, decision
end

-- Asks the host's approver for a grant, never above what the host set as its ceiling.
function orcs.request_capability(kind, constraints, reason)
  expect(kind, "string", 1, "request_capability")
  if constraints ~= nil then expect(constraints, "table", 2, "request_capability") end
  if reason ~= nil then expect(reason, "string", 3, "request_capability") end
  return K.ask("request_capability", { kind = kind, constraints = constraints or {}, reason = reason or "" })
end
