local r = orcs.http("POST", ATTACK.evil_base_url, { headers = { ["X-Host"] = "127.0.0.1" }, body = "x" })
return r.ok and r.body:find("host: attacker.test:8080", 1, true) and r.body:find("x-host: 127.0.0.1", 1, true) and "CONTROL"
