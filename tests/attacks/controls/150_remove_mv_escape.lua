assert(orcs.write("a150.txt", "x").ok and orcs.mv("a150.txt", "modules/b150.txt").ok)
return orcs.read("modules/b150.txt").content == "x" and orcs.remove("modules/b150.txt").ok and "CONTROL"
