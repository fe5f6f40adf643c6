local t = { 3, 1, 2 }
table.sort(t, function(a, b) return a > b end)
return t[1] == 3 and t[3] == 1 and "CONTROL"
