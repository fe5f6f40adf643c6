return load("return " .. ("("):rep(50) .. "7" .. (")"):rep(50))() == 7 and "CONTROL"
