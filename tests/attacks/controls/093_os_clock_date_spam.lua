for i = 1, 100 do os.time() os.clock() os.date("%c") end
return os.time() > 0 and "CONTROL"
