-- group: capability
-- attack: load sessions that are too large, too deep, of the wrong shape, or with keys in them
-- expect: SAFE|ERROR|KILLED
-- correct: checked before anything changes
for _, s in ipairs{ ("["):rep(100000), "{}", "null", "[]", '{"a":1}', '{"sess-1":[{"role":"root","content":"x"}]}', '{"' .. ("k"):rep(1e6) .. '":[]}', '{"a":[' .. ('{"role":"user","content":"x"},'):rep(20000) .. '{}]}', "\0", "\xff" } do
  pcall(orcs.llm_load_sessions, s) pcall(orcs.llm_load_sessions, s, { mode = "merge" })
end
local d = orcs.llm_dump_sessions()
return (d:find("SECRET", 1, true) or d:find("root", 1, true)) and "ESCAPED" or "SAFE"
