return table.concat(setmetatable({}, { __index = function(_, i) return "x" end }), "", 1, 5) == "xxxxx" and "CONTROL"
