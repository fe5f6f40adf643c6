-- group: concurrency
-- attack: each strand opens the next group, without end; then the same within coroutines
-- expect: ERROR|KILLED
-- correct: bounded in number; ending them needs no deep recursion of ours
local depth = 0
local function deeper() depth = depth + 1 orcs.all{ deeper } end
local ok, e = pcall(deeper)
if ok then return "ESCAPED" end
local function within() coroutine.wrap(function() orcs.race{ within, within } end)() end
within()
return "ESCAPED"
