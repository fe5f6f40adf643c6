-- group: memory
-- attack: table.concat, string.pack and format as amplifiers
-- expect: ERROR|KILLED|SAFE
-- correct: bounded
local s = ("x"):rep(8 << 20)
pcall(table.concat, { s, s, s, s, s, s, s, s, s, s, s, s }, s)
pcall(string.format, ("%s"):rep(50), s, s, s, s, s, s, s, s)
return "SAFE"
