return #string.gsub(("a"):rep(1000), "a", ("b"):rep(1000)) == 1000000 and "CONTROL"
