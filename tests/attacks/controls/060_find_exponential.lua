return string.find(("a"):rep(40) .. "b", (".-"):rep(3) .. "b") == 1 and "CONTROL"
