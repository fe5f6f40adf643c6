local t = setmetatable({ 1, 2 }, { __tostring = function() return "t" end })
return orcs.json_encode{ a = t } == '{"a":[1,2]}' and "CONTROL"
