local h = {} for i = 1, 90 do h["X-" .. i] = "v" end
return orcs.http("GET", ATTACK.evil_base_url, { headers = h }).body:find("x-90: v", 1, true) and "CONTROL"
