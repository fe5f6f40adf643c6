local r = orcs.http("GET", "http://redirect.test/?to=http://attacker.test/landed", { headers = { Authorization = "Bearer MY-TOKEN" } })
return r.ok and r.redirects == 1 and r.url == "http://attacker.test/landed" and not r.body:find("MY-TOKEN", 1, true) and "CONTROL"
