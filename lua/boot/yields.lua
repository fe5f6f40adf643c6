-- Which yield is whose: what boot/strands.lua, which runs coroutines, and boot/coroutines.lua, which lends them to scripts, share.

local K = ...
local setmetatable = K.raw.base.setmetatable

function K.HOST() end                            -- tags a yield as a call to the host; `==` of functions runs no __eq
K.tasks = setmetatable({}, { __mode = "k" })     -- coroutines of tasks and strands: scripts may not resume them
K.waiting = setmetatable({}, { __mode = "k" })   -- coroutines below which a call to the host is open
K.WEAK = { __mode = "kv" }
K.resumed = setmetatable({}, K.WEAK)             -- coroutine → the waiting one that it resumed
