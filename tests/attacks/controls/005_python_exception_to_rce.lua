local ok, e = pcall(error, { code = 7 })
return not ok and e.code == 7 and "CONTROL"
