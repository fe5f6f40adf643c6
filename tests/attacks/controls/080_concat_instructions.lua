local s = ("x"):rep(100000)
for i = 1, 10 do s = s .. "y" end
return #s == 100010 and "CONTROL"
