local r = orcs.map(table.pack(3, 2, 1), function(v, i) return v * i end, { concurrency = 2 })
return table.concat(r, " ") == "3 4 3" and "CONTROL"
