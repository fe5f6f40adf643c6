local r = orcs.http("GET", "http://attacker.test/plain", { headers = { ["X-Mine"] = "1" } })
return r.ok and r.status == 200 and r.body:find("x-mine: 1", 1, true) and "CONTROL"
