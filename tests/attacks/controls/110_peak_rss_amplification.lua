local s = ("x"):rep(100000)
return #orcs.json_encode{ s } == 100004 and orcs.llm(s).ok and "CONTROL"
