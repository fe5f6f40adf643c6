for i = 1, 5 do assert(orcs.write("f205.txt", ("x"):rep(1000)).ok) end
return orcs.remove("f205.txt").ok and "CONTROL"
