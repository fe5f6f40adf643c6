local f = load("return 7", "my chunk")
local _, e = pcall(load("error('x')", "=mine"))
return f() == 7 and e == "mine:1: x" and "CONTROL"
