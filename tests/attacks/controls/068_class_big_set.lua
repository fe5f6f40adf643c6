return string.find(("a"):rep(1000) .. "b", "[xyb]") == 1001 and "CONTROL"
