for i = 1, 20 do local ok, s = pcall(string.rep, "x", 1000000) assert(ok and #s == 1000000) end
return "CONTROL"
