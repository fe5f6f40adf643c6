local all = {}
for i = 1, 1e4 do all[i] = function() return i end end
return all[9]() == 9 and "CONTROL"
