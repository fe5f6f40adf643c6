-- group: crash
-- attack: an error value whose __tostring calls the host, raises, yields, or never ends
-- expect: ERROR|KILLED
-- correct: its text is made at the script's cost, the host is not called there, and the error is reported
local depth = 0
local e = setmetatable({}, { __tostring = function(self)
  depth = depth + 1
  pcall(orcs.read, "good.lua")
  pcall(coroutine.yield, 1)
  if depth < 50 then error(self) end
  while true do end
end })
orcs.all({ function() error(e) end, function() error(e) end })
