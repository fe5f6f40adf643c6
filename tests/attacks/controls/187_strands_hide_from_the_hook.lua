local n = 0
orcs.nursery(function(nursery) for i = 1, 500 do nursery:spawn(function() n = n + 1 end) end end)
return n == 500 and "CONTROL"
