local r = orcs.all({ function() error("x", 0) end, function() return select(2, pcall(error, "y")) end }, { collect = true })
return r[1].error == "x" and r[2].value == "y" and "CONTROL"
