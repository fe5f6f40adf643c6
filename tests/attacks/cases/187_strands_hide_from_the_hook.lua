-- group: concurrency
-- attack: endless work split over strands, each shorter than the hook's count, all errors caught
-- expect: KILLED|ERROR
-- correct: the loop that runs strands looks at the clock, and a kill passes every pcall of every strand
local function short() pcall(error) end
orcs.nursery(function(n)
  local function again() short() n:spawn(again) end
  n:spawn(again)
  while true do pcall(orcs.all, { short, function() pcall(orcs.race, { short, short }) end }) end
end)
return "SAFE"
