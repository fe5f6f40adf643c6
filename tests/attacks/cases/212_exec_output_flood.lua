-- group: exec
-- attack: output without end, arguments without end, bytes that are no text
-- expect: SAFE|ERROR|KILLED
-- correct: outputs are read to their end and kept up to a cap; too many arguments are refused; bytes come as they are
-- holds: exec
local here = { cwd = ATTACK.folder }
local r = orcs.exec_argv("printf", { "%30000000d", "1" }, here)
if r.stdout and #r.stdout > 1 << 20 then return "ESCAPED: " .. #r.stdout .. " bytes" end
local args = {} for i = 1, 100000 do args[i] = "x" end
if orcs.exec_argv("printf", args, here).ok then return "ESCAPED: 100000 arguments" end
if orcs.exec_argv("printf", { ("x"):rep(1 << 20) }, here).ok then return "ESCAPED: a long argument" end
local b = orcs.exec_argv("printf", { "\\377\\000\\033[2J" }, here)
return b.stdout == "\xff\0\27[2J" and "SAFE" or "ESCAPED: " .. tostring(b.stdout)
