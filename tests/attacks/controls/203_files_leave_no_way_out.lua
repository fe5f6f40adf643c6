orcs.mkdir("b203")
assert(orcs.write("b203/x.txt", "1").ok and orcs.mv("b203", "c203").ok)
return orcs.read("c203/x.txt").content == "1" and orcs.remove("c203").ok and "CONTROL"
