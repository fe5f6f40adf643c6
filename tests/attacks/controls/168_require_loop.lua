local ok, e = pcall(require, "loops")
return not ok and e:find("requires itself", 1, true) and require("good").v == 1 and "CONTROL"
