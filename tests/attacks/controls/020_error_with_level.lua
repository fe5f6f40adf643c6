local _, e = pcall(error, "m", 1)
local _, raw = pcall(error, "m", 0)
return raw == "m" and tostring(e):find("m", 1, true) and "CONTROL"
