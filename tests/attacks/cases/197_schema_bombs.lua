-- group: data
-- attack: tools whose schemas refer to themselves, double at each level, hold metatables and odd types
-- expect: SAFE|ERROR|KILLED
-- correct: refused on the way out, or checked in a bounded number of steps; no metamethod of it runs
local defs = {}
for i = 0, 60 do local next = { ["$ref"] = "#/$defs/n" .. i + 1 } defs["n" .. i] = { anyOf = { next, next, next } } end
defs.n61 = { type = "string" }
local loop = setmetatable({}, { __index = function() while true do end end })
for _, schema in ipairs{ { ["$ref"] = "#" }, { ["$ref"] = "#/$defs/n0", ["$defs"] = defs }, { allOf = { loop, { type = "object" } } }, { ["not"] = { ["$ref"] = "#" } } } do
  local tool = { name = "t", parameters = schema, run = function() return "ran" end }
  pcall(orcs.llm, 'call t {"a": [1, 2, 3]}', { tools = { tool }, resolve = true, max_tool_turns = 2 })
end
return "SAFE"
