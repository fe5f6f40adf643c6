local ok, e = pcall(orcs.json_encode, { a = 1, [2.5] = 1 })
return not ok and e:find("JSON", 1, true) and tostring({}):find("^table: ") and "CONTROL"
