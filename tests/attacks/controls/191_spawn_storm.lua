local n = 0
orcs.nursery(function(nursery) for i = 1, 2000 do nursery:spawn(function() orcs.now() n = n + 1 end) end end)
return n == 2000 and "CONTROL"
