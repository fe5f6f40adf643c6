-- What am I allowed to do? orcs.caps() → {kind = {constraints, used, remaining, …}}, orcs.can(kind, detail).
--
-- Reading one's own grants needs no grant. There is no way to change them from here.

local K = ...
local type, error, call, encode, orcs = K.raw.base.type, K.raw.base.error, K.call, K.encode, K.orcs

function orcs.caps() return call("caps", "\xc0") end

-- → true or false, and the decision: {allow, rule, …}
function orcs.can(kind, detail)
  if type(kind) ~= "string" then
    error("bad argument #1 to 'can' (string expected, got " .. (kind == nil and "no value" or type(kind)) .. ")", 2)
  end
  local args, message = encode({ kind = kind, detail = detail })
  if not args then error("bad argument #2 to 'can' (" .. message .. ")", 2) end
  local decision = call("can", args)
  return decision.allow == true, decision
end

-- Asks the host's approver for a grant, never above what the host set as its ceiling.
function orcs.request_capability(kind, constraints, reason)
  K.expect(kind, "string", 1, "request_capability")
  if constraints ~= nil then K.expect(constraints, "table", 2, "request_capability") end
  if reason ~= nil then K.expect(reason, "string", 3, "request_capability") end
  return K.ask("request_capability", { kind = kind, constraints = constraints or {}, reason = reason or "" })
end
