string = { upper = function() return "mine" end }
return string.upper("x") == "mine" and ("x"):upper() == "X" and orcs.json_encode{ "x" } == '["x"]' and "CONTROL"
