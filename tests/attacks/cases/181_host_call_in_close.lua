-- group: tamper
-- attack: call the host in __close, in a handler, in __tostring, in the iterator's closing value
-- expect: SAFE|ERROR
-- correct: an answer, or an error that says where it cannot be called
local seen = {}
local function call() local ok, e = pcall(orcs.now) seen[#seen + 1] = ok and type(e) == "number" or tostring(e):find("cannot be called", 1, true) ~= nil end
do local x <close> = setmetatable({}, { __close = call }) end
pcall(function() local x <close> = setmetatable({}, { __close = call }) error("x") end)
for _ in next, { 1 }, nil, setmetatable({}, { __close = call }) do end
pcall(tostring, setmetatable({}, { __tostring = function() call() return "" end }))
xpcall(error, call)
local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = call }) coroutine.yield() end) coroutine.resume(co) coroutine.close(co)
for i = 1, #seen do if not seen[i] then return "ESCAPED: " .. i end end
return #seen == 6 and "SAFE" or "ESCAPED: only " .. #seen
