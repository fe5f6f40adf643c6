local r = orcs.http("GET", "http://redirect.test/?to=/here", { headers = { Authorization = "Bearer MY-TOKEN" } })
return r.redirects == 1 and r.body:find("MY-TOKEN", 1, true) and "CONTROL"
