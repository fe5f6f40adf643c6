-- group: escape
-- attack: read addresses in the paths of encoder refusals and in library errors
-- expect: SAFE
-- correct: no address in any text
local all = {}
for _, k in ipairs{ {}, print, coroutine.create(print), function() end } do
  local t = { a = 1, b = { c = 1 } } t[k] = 2 t.b[k] = 3
  local _, e = pcall(orcs.json_encode, t) all[#all + 1] = e
  local r = orcs.llm("x", t) all[#all + 1] = r.error .. r.detail.field
  all[#all + 1] = select(2, pcall(string.rep, k)) all[#all + 1] = select(2, pcall(error, k)) == k and "" or "?"
  all[#all + 1] = select(2, pcall(function() string[k] = 1 end)) all[#all + 1] = select(2, pcall(function() return k < 1 end)) all[#all + 1] = tostring(select(2, pcall(next, {}, k)))
end
for hex in table.concat(all, "\n"):gmatch("0x(%x+)") do if tonumber(hex, 16) > 0x100000 then return "ESCAPED: " .. hex end end
return "SAFE"
