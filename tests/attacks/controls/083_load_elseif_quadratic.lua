return load("return a " .. ("or a "):rep(100) .. "or 7")() == 7 and "CONTROL"
