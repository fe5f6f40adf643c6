x = 5
return load("return x, _G")() == 5 and "CONTROL"
