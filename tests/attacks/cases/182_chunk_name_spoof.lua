-- group: tamper
-- attack: name a chunk like the host's own code, or like a path, to hide in tracebacks
-- expect: ERROR
-- correct: the text is the script's, short, without control characters
local f = load("local f = ... f()", "[luahost]")
local g = load("error('\\27[2J spoofed')", "@/etc/passwd\n\27[2J" .. ("x"):rep(500))
f(g)
