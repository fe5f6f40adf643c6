local many = {}
for i = 1, 20 do many[i] = function() return orcs.http("GET", "http://attacker.test/" .. i).ok end end
for i, ok in ipairs(orcs.all(many)) do assert(ok, i) end
return "CONTROL"
