-- group: fs
-- attack: get round the budget of bytes by small files, empty ones, and files written over again; leave litter
-- expect: SAFE|KILLED
-- correct: each write is counted in the grant, whatever it replaces; no half-written file stays
local piece, total = ("x"):rep(1 << 18), 0
for i = 1, 40 do
  local r = orcs.write("e205.txt", piece)
  if r.ok then total = total + #piece end
end
orcs.remove("e205.txt")
if total > 4 << 20 then return "ESCAPED: wrote " .. total end
return "SAFE"
