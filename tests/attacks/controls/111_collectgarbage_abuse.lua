return collectgarbage("count") > 0 and "CONTROL"
