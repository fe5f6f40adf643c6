assert(orcs.write("d204.txt", "x").ok)
return orcs.read("d204.txt").size == 1 and orcs.remove("d204.txt").ok and "CONTROL"
