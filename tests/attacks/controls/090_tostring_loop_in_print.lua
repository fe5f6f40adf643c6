local o = setmetatable({}, { __tostring = function() return "me" end })
print(o)
orcs.log("info", tostring(o))
return ("%s"):format(o) == "me" and "CONTROL"
