local function f(_ENV) return x end
return f{ x = 7 } == 7 and load("return y", "n", "t", { y = 8 })() == 8 and "CONTROL"
