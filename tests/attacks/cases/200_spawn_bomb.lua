-- group: resource
-- attack: children that spawn children that spawn children, by the same text, and none of them ever ends
-- expect: SAFE
-- correct: the whole tree is counted, not each parent by itself
local bomb = [[local text = ... local n = 0
return { run = function() for i = 1, 4 do local c = orcs.spawn_child { id = "b" .. i, script = text, input = text, caps = "inherit" }
  if c.ok then n = n + 1 + (c:send().result or 0) end end return n end }]]
local c = orcs.spawn_child { id = "first", script = bomb, input = bomb, caps = "inherit" }
local r = c.ok and c:send() or c
local made = r.ok and r.result or 0
return made <= 12 and "SAFE" or "ESCAPED: " .. made .. " children"
