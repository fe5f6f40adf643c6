-- group: crash
-- attack: errors inside handlers, inside __tostring of errors, inside __close of errors, at the C stack's end
-- expect: ERROR
-- correct: one clear text
local mt = {}
mt.__tostring = function(e) error(e) end
mt.__close = function(e) error(e) end
local e = setmetatable({}, mt)
pcall(xpcall, error, error, e)
xpcall(function() local x <close> = e error(e) end, function(x) error(x) end)
local function deep(n) if n == 0 then error(e) end return select(2, pcall(string.gsub, "a", "a", function() return deep(n - 1) end)) end
deep(150)
local x <close> = e
error(e)
