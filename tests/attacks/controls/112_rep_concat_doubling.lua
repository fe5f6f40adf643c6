local s = ("x"):rep(1000)
return #table.concat({ s, s, s }, s) == 5000 and #("%s%s"):format(s, s) == 2000 and "CONTROL"
