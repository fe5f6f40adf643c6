for i = 1, 20 do assert(load("return a " .. ("or a "):rep(100))) end
return "CONTROL"
