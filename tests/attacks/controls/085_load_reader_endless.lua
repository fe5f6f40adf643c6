local n = 0
return load(function() n = n + 1 if n == 1 then return "return 7" end end)() == 7 and "CONTROL"
