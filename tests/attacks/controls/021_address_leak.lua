local a, b = {}, {}
return tostring(a) == tostring(a) and tostring(a) ~= tostring(b) and ("%s"):format(print):find("function", 1, true) and "CONTROL"
