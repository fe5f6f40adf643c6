-- group: cpu
-- attack: a __close handler is given the kill as its error: keep it, swallow it, go on
-- expect: KILLED
-- correct: the kill is sticky
local kept
local function loop() local x <close> = setmetatable({}, { __close = function(_, e) kept = e pcall(error, e) while true do end end }) while true do end end
while true do pcall(loop) coroutine.wrap(function() pcall(loop) end)() xpcall(loop, function(e) kept = e while true do end end) end
