local keep = {}
while collectgarbage("count") < 30000 do keep[#keep + 1] = ("x"):rep(500) .. #keep end
return #orcs.hash("x") == 64 and orcs.json_encode { 1 } == "[1]" and "CONTROL"
