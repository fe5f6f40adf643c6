-- group: concurrency
-- attack: streams ended in their callback's wait, from their own callback, and again and again; one session for many strands
-- expect: SAFE
-- correct: the session is free after each, no piece comes late, no turn is half stored
local late = 0
local function stream(wait)
  return function()
    orcs.llm("one two three four", { session_id = "s", on_delta = function() wait() late = late + 1 end })
  end
end
for _ = 1, 3 do
  orcs.race{ stream(function() orcs.sleep(20) end), function() orcs.sleep(0.005) end }
  orcs.race{ stream(function() orcs.all{ function() orcs.sleep(20) end } end), function() orcs.sleep(0.005) end }
  pcall(orcs.nursery, function(n) n:spawn(stream(function() error("mine") end)) n:spawn(stream(function() end)) orcs.sleep(0.005) error("end") end)
end
local before = late
local r = orcs.llm("kept", { session_id = "s" })
return late == before and r.ok and r.content == "You said: kept" and "SAFE" or "ESCAPED: " .. tostring(r.error_kind)
