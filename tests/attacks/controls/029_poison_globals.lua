local ty = type
type = function(v) return "my " .. ty(v) end
return type(1) == "my number" and orcs.json_encode{ 1 } == "[1]" and "CONTROL"
