return string.gsub(("a"):rep(20) .. "b", ".-b", "c") == "c" and "CONTROL"
