-- group: cpu
-- attack: back references, frontiers and balances on long subjects
-- expect: KILLED|SAFE|ERROR
-- correct: interruptible matcher
local s = ("a"):rep(200000)
for _, p in ipairs{ "(a*)%1%1b", "%b()%b()", "%f[b]a*%f[c]", "(.-)%1(.-)%2$x", ("(a?)"):rep(30) .. "b", "[^a-z]*.-.-z" } do
  string.find(s, p) string.gsub(s, p, "%0%0") for _ in s:gmatch(p) do end string.match(s, p, -100000)
end
return "SAFE"
