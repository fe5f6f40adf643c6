-- group: concurrency
-- attack: a hundred thousand spawns that all wait, again and again, each refusal caught
-- expect: KILLED|ERROR|SAFE
-- correct: refused beyond a number, and what was begun ends with its nursery
for _ = 1, 3 do
  local ok, e = pcall(orcs.nursery, function(n) for i = 1, 100000 do n:spawn(orcs.sleep, 1000) end end)
  if ok or not tostring(e):find("more than") then return "ESCAPED" end
end
return "SAFE"
