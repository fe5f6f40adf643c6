local function f(n) return n == 0 and 7 or coroutine.wrap(f)(n - 1) end
return f(100) == 7 and "CONTROL"
