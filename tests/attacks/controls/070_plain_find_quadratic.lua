return string.find(("a"):rep(100000) .. "b", "aab", 1, true) == 99999 and "CONTROL"
