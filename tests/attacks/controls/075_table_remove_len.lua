local t = { 1, 2, 3 }
return table.remove(t, 1) == 1 and #t == 2 and "CONTROL"
