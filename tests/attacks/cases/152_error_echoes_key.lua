-- group: net
-- attack: make the server's own error text carry the host's key back to the script
-- expect: SAFE
-- correct: keys are cut out of what comes back
local seen = {}
for _, o in ipairs{ { model = "x\r\nAuthorization: y" }, { api_key = "mine" }, { provider = "echo", model = "" }, { temperature = 1e308 }, { max_tokens = -1 } } do
  local ok, r = pcall(orcs.llm, "x", o) seen[#seen + 1] = ok and orcs.json_encode(r) or tostring(r)
end
seen[#seen + 1] = orcs.json_encode(orcs.llm_ping()) seen[#seen + 1] = orcs.json_encode(orcs.caps())
return table.concat(seen):find("SECRET", 1, true) and "ESCAPED: the key came back" or "SAFE"
