local a, b = ("\0"):rep(1000) .. "x", ("\0"):rep(1000) .. "y"
return a < b and "CONTROL"
