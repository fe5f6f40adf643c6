for i = 1, 100 do orcs.log("info", "line " .. i) end
return "CONTROL"
