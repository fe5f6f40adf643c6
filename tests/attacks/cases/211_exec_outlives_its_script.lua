-- group: exec
-- attack: leave programs running behind a time-out, a cancelled task, and the script's own end; start more than a table of processes has
-- expect: SAFE|KILLED
-- correct: whoever waits no more has its program killed; a grant that says nothing lets 32 run at a time
-- holds: exec
local here = { cwd = ATTACK.folder }
local r = orcs.exec_argv("sleep", { "60" }, { cwd = ATTACK.folder, timeout = 0.05 })
if r.ok or r.error_kind ~= "timeout" then return "ESCAPED: " .. tostring(r.error_kind) end
orcs.timeout(0.05, function() orcs.exec_argv("sleep", { "61" }, here) end)
orcs.race { function() orcs.sleep(0.05) end, function() orcs.exec_argv("sleep", { "62" }, here) end }
local many, refused = {}, 0
for i = 1, 300 do many[i] = function() if orcs.exec_argv("sleep", { "64" }, here).error_kind == "concurrency_limit" then refused = refused + 1 end end end
orcs.timeout(10, function() orcs.race { function() orcs.all(many) end, function() while refused < 300 - 32 do orcs.sleep(0.02) end end } end)
if refused < 300 - 32 then return "ESCAPED: " .. 300 - refused .. " programs at a time" end
orcs.timeout(0.1, function() orcs.all { function() orcs.exec_argv("sleep", { "63" }, here) end, function() while true do orcs.sleep(0) end end } end)
return "SAFE"
