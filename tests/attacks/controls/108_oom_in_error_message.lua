local ok, e = pcall(error, ("E"):rep(100000))
return not ok and #e >= 100000 and "CONTROL"
