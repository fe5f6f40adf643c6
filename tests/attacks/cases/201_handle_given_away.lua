-- group: capability
-- attack: a handle is sent to a sibling, and forged from an id, to reach another's child
-- expect: SAFE
-- correct: an id means a child of the script that says it, whatever it was given
orcs.spawn_child { id = "victim", script = "return { run = function() return 'reached' end }", caps = "inherit" }
local thief = orcs.spawn_child { id = "thief", script = [[return { run = function(handle)
  local forged = orcs.child("victim") forged.id = handle.id
  for _, r in ipairs { forged:send(1), orcs.send_to_child(handle.id, 1), orcs.send_to_child(handle.name, 1), orcs.request(handle.id, "x"), forged:revoke("llm") } do
    if r.ok then return "reached" end end
  return "nothing" end }]] }
local r = thief:run(orcs.children()[1] and { id = "victim", name = "victim" })
return r.result == "nothing" and "SAFE" or "ESCAPED: " .. tostring(r.result)
