-- group: capability
-- attack: prompts and session ids with control bytes, NULs, and 8 MB
-- expect: SAFE|ERROR|KILLED
-- correct: a value or a refusal
for _, p in ipairs{ "\0", "\r\n\r\nGET / HTTP/1.1", ("x"):rep(9000000), "\xff\xfe", "\u{202e}" } do
  local ok, r = pcall(orcs.llm, p, { session_id = "s" })
  local ok2, r2 = pcall(orcs.llm, "x", { session_id = p, system_prompt = p })
  if ok and type(r) ~= "table" or ok2 and type(r2) ~= "table" then return "ESCAPED: " .. type(r) end
end
return "SAFE"
