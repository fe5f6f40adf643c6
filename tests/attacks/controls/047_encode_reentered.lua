local t = setmetatable({ "outer" }, { __len = function() return 9 end, __index = function() return 9 end })
return #t == 9 and t.x == 9 and orcs.json_encode{ t } == '[["outer"]]' and "CONTROL"
