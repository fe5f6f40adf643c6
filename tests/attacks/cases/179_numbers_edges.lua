-- group: crash
-- attack: loops, shifts, divisions and conversions at the edges of numbers
-- expect: SAFE|ERROR
-- correct: Lua's own errors
pcall(function() for i = math.maxinteger - 1, math.maxinteger do end for i = 1, 3, 0 do end end)
pcall(function() return math.mininteger // -1 + math.mininteger % -1 + (1 << 64) + (1 >> -1) end)
for _, v in ipairs{ 0 / 0, 1 / 0, -1 / 0, 2^63, -2^63, "0x1p9999", "1e400", math.mininteger, -0.0 } do
  pcall(orcs.sleep, -1 / 0) pcall(orcs.json_encode, { v }) pcall(string.char, v) pcall(string.rep, "x", v) pcall(table.concat, {}, "", v, v) pcall(os.date, "%c", v) pcall(orcs.llm, "x", { temperature = v }) pcall(utf8.char, v)
  pcall(string.format, "%d %x %5.3f", v, v, v) pcall(orcs.sleep, tonumber(v) == 0 and 0 or "x") pcall(select, v) pcall(math.random, v) pcall(collectgarbage, v) pcall(setmetatable, v) pcall(load, v)
end
return "SAFE"
