assert(orcs.write("fill146", ("x"):rep(3000000)).ok)
return orcs.read("fill146").size == 3000000 and orcs.remove("fill146").ok and "CONTROL"
