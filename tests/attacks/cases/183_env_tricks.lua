-- group: escape
-- attack: _ENV as upvalue, as local, as parameter, nil, a number, with metamethods, through load
-- expect: SAFE
-- correct: _ENV is the script's own
local function look(_ENV) return io or debug or package or python end
if look(_G) or look({}) then return "ESCAPED: env" end
pcall(function() local _ENV = nil return print end) pcall(function() local _ENV = 5 x = 1 end)
local seen = {}
local probe = setmetatable({}, { __index = function(_, k) seen[k] = true end })
load("return io, debug, package, _G, _ENV", "x", "t", probe)()
pcall(load, "x = 1", "x", "t", string) pcall(load("y = 1", "x", "t", orcs))
for _, env in ipairs{ 1, "x", true, orcs.null } do local f = load("return io", "x", "t", env) if f then pcall(f) end end
return rawget(_G, "y") == nil and next(orcs.null) == nil and "SAFE" or "ESCAPED: env write"
