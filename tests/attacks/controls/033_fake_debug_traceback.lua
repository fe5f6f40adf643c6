debug = { traceback = function(m) return m end }
return debug.traceback("boom") == "boom" and "CONTROL"
