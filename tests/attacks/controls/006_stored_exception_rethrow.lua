local ok, e = pcall(require, "no.such.module")
return not ok and type(e) == "string" and "CONTROL"
