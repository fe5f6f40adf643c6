return string.find(("a"):rep(8), ("a?"):rep(8) .. ("a"):rep(8)) == 1 and "CONTROL"
