orcs.register_intent { name = "twice", params = { n = { type = "integer", required = true } }, run = function(a) return { ok = true, n = 2 * a.n } end }
return orcs.dispatch("twice", { n = 4 }).n == 8 and "CONTROL"
