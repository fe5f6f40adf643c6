local ok, e = pcall(error, "\u{e9}", 0)
return not ok and e == "\u{e9}" and "CONTROL"
