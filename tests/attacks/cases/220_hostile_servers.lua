-- group: net
-- attack: servers of the attacker's: a body without end, a gzip bomb, 20,000 headers, redirects in a circle, two lengths, no HTTP at all, no answer
-- expect: SAFE|KILLED
-- correct: each is an error with its kind; nothing larger than the grant allows is kept; a slow one is cut
-- holds: http
local kinds = { endless = "too_large", bomb = "too_large", headers = false, loop = false, cut = "connection", lies = "protocol", none = "protocol", slow = "timeout" }
local tasks, names = {}, {}
for name in pairs(kinds) do
  names[#names + 1] = name
  tasks[#tasks + 1] = function() return orcs.http("GET", "http://attacker.test/" .. name, { timeout = 1 }) end
end
for i, r in ipairs(orcs.all(tasks)) do
  local want = kinds[names[i]]
  if want and r.ok or type(r.body) == "string" and #r.body > 1 << 20 then return "ESCAPED: " .. names[i] end
  if names[i] == "loop" and r.ok and r.redirects > 3 then return "ESCAPED: " .. r.redirects .. " redirects" end
end
return "SAFE"
