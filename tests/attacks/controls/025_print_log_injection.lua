print("a plain line", 1, nil, true)
orcs.log("info", "another")
orcs.output("and one more")
return "CONTROL"
