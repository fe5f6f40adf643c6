local ok, e = pcall(error, { kind = "mine", error = "a text" })
return not ok and e.kind == "mine" and "CONTROL"
