local tree = { type = "object", properties = { down = { ["$ref"] = "#" } }, additionalProperties = false }
local tool = { name = "t", parameters = tree, run = function() return "ran" end }
local r = orcs.llm('call t {"down": {"down": {}}}', { tools = { tool }, resolve = true })
return r.content:find("ran", 1, true) and "CONTROL"
