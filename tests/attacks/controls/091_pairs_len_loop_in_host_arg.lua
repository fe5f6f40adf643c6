return orcs.json_encode(setmetatable({ 1, 2 }, { __len = function() return 5 end })) == "[1,2]" and "CONTROL"
