return ("text" .. (" "):rep(1000)):gsub("%s+$", "") == "text" and "CONTROL"
