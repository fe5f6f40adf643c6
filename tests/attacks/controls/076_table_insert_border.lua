local t = { 1, 2 }
table.insert(t, 1, 0)
return t[1] == 0 and t[3] == 2 and "CONTROL"
