local t = setmetatable({}, { __name = "Point", __metatable = "locked" })
return tostring(t):find("^Point: ") and getmetatable(t) == "locked" and "CONTROL"
