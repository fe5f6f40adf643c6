local n = 0
::again:: n = n + 1
if n < 1e5 then goto again end
return "CONTROL"
