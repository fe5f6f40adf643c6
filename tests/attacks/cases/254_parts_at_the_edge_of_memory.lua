-- group: memory
-- attack: have no room left when a part of the library is loaded, for each of several sizes of the room
-- expect: KILLED|SAFE|ERROR
-- correct: the memory limit ends it, and not the process
local keep = {}
while collectgarbage("count") < 65536 - 90 do keep[#keep + 1] = ("x"):rep(500) .. #keep end
for _, f in ipairs {
  function() return orcs.hash("x") end, function() return ("aXb"):gsub("%u+", "%0%0") end, function() return coroutine.wrap(print)() end,
  function() return orcs.json_encode { 1 } end, function() return table.sort { 3, 1 } end, function() return orcs.toml_encode { a = 1 } end,
} do
  pcall(f)
  for i = 1, 20 do keep[#keep + 1] = ("y"):rep(100) .. #keep end
end
return "SAFE"
