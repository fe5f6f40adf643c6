-- group: cpu
-- attack: parse a large document again and again
-- expect: KILLED
-- correct: the parser runs under the hook
local doc = "[" .. ('{"a":[1,2.5e3,"\\u00e9\\n",null]},'):rep(100000) .. "0]"
while true do pcall(orcs.json_parse, doc) end
