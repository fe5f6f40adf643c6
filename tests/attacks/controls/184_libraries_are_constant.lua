local my = { len = function() return 1 end }
my.len, my.x = nil, 1
string = setmetatable({ shout = function(s) return s .. "!" end }, { __index = string })
return string.shout("a") == "a!" and string.upper("a") == "A" and "CONTROL"
