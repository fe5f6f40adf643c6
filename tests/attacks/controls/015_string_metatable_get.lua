return ("x"):rep(3) == "xxx" and ("5") + 1 == 6 and "CONTROL"
