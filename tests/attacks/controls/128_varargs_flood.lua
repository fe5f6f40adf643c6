print(table.unpack({ 1, 2, 3 }, 1, 200))
return select("#", table.unpack({}, 1, 1000)) == 1000 and "CONTROL"
