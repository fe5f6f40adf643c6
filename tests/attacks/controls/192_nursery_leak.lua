local ran
orcs.nursery(function(n) orcs.all{ function() orcs.spawn(function() orcs.sleep(0.01) ran = true end) end } end)
return ran and "CONTROL"
