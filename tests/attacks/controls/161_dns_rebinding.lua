for i = 1, 20 do assert(orcs.http("GET", "http://attacker.test/" .. i).ok) end
return "CONTROL"
