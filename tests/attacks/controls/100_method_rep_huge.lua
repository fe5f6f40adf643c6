return #("x"):rep(1 << 20) == 1 << 20 and "CONTROL"
