-- group: cpu
-- attack: compile a script of the largest size that is allowed, of the slowest shape there is
-- expect: KILLED|ERROR|SAFE
-- correct: the parser is bounded, or the process ends
local shapes = { "if a then ", "do local a ", "a=a..a ", "x={{}} ", "::l%d:: ", "goto x ", "local function f() end ", "a.b.c=1 ", "for i=1,2 do ", "return ", "a=not not a ", "a=a+1==a*2 ", "x'' " }
for _, s in ipairs(shapes) do local n = 0 pcall(load, (s:rep(64000 // #s):gsub("%%d", function() n = n + 1 return n end))) end
return "SAFE"
