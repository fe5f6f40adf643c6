local r = orcs.http("POST", ATTACK.evil_base_url .. "/a%0d%0ab", { headers = { ["X-A"] = "a b" }, body = "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\n" })
return r.ok and r.body:find("x-a: a b", 1, true) and "CONTROL"
