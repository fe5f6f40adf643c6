local s = "x"
for i = 1, 20 do s = s .. s end
return #s == 1 << 20 and "CONTROL"
