local function f(n) return n == 0 or select(2, pcall(f, n - 1)) end
return f(150) == true and "CONTROL"
