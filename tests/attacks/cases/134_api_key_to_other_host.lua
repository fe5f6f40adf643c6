-- group: capability
-- attack: send the host's key elsewhere: own base_url, own api_key, odd spellings
-- expect: SAFE
-- correct: a key belongs to its origin; a base_url needs a grant that lists it
for _, u in ipairs{ ATTACK.evil_base_url, ATTACK.internal_url, "http://localhost:1", "HTTP://127.0.0.1:1", "http://127.1:1", "http://u:p@127.0.0.1:1", "file:///etc/passwd", "http://[::1]:1", "//x", "http://a\r\nX: 1" } do
  local r = orcs.llm("x", { base_url = u })
  if r.ok or r.error_kind == "network" or r.error_kind == "connection" then return "ESCAPED: " .. u .. " " .. tostring(r.error_kind) end
  local p = orcs.llm_ping({ base_url = u })
  if p.ok or p.error_kind == "network" then return "ESCAPED: ping " .. u end
end
return "SAFE"
