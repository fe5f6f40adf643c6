-- group: net
-- attack: hundreds of requests that are never answered, left alone by time-outs, races and the script's end
-- expect: SAFE|KILLED
-- correct: whoever waits no more has its socket closed
-- holds: http
local function slow() return orcs.http("GET", "http://attacker.test/slow", { timeout = 5 }) end
local many = {}
for i = 1, 200 do many[i] = slow end
orcs.timeout(0.15, function() orcs.all(many) end)
orcs.race { function() orcs.sleep(0.02) end, slow, slow, slow }
for i = 1, 20 do orcs.http("GET", "http://attacker.test/slow", { timeout = 0.01 }) end
many[201] = function() orcs.sleep(0.05) error("enough") end
pcall(orcs.all, many)
return "SAFE"
