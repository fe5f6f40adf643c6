-- group: net
-- attack: a server of the attacker's sends the request on: to loopback, private and metadata addresses in every spelling, to a rebinding name, to a file
-- expect: SAFE
-- correct: each hop is judged like a request, before it is sent
-- holds: http
local to = { ATTACK.internal_url, "http://127.0.0.1/", "http://127.1/", "http://0/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost/", "http://2130706433/",
  "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/", "http://intranet.test/", "http://evil-rebind.test/", "http://evil-rebind.test/", "http://10.0.0.1/",
  "file:///etc/passwd", "gopher://127.0.0.1/", "//127.0.0.1/", "http://u:p@127.0.0.1/", "http://attacker.test@127.0.0.1/", "http://127.0.0.1\\@attacker.test/" }
for _, place in ipairs(to) do
  for _, method in ipairs { "GET", "POST" } do
    local r = orcs.http(method, "http://redirect.test/?to=" .. place, { headers = { Authorization = "Bearer MY-TOKEN" } })
    if r.ok and r.status == 200 then return "ESCAPED: " .. place end
  end
end
return "SAFE"
