orcs.output(("x"):rep(1000))
return "CONTROL"
