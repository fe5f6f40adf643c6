setmetatable(_G, { __index = function(_, k) return "default " .. k end })
return missing == "default missing" and "CONTROL"
