-- group: tamper
-- attack: write to library tables with every function that writes, also through s:method() and _G copies
-- expect: SAFE
-- correct: read-only proxies, raw functions refuse
local libs = { string, table, math, os, coroutine, utf8, orcs }
for _, lib in ipairs(libs) do
  for _, f in ipairs{ function() lib.x = 1 end, function() rawset(lib, "x", 1) end, function() setmetatable(lib, nil) end, function() setmetatable(lib, {}) end, function() table.insert(lib, 1) end,
    function() getmetatable(lib).__index.x = 1 end, function() table.move({ 1 }, 1, 1, 1, lib) end, function() load("x = 1", "", "t", lib)() end, function() lib.len = nil end, function() orcs.array(lib) end } do pcall(f) end
  if lib.x ~= nil or lib[1] ~= nil or rawget(lib, "x") ~= nil then return "ESCAPED" end
end
local mt = getmetatable("") if type(mt) == "table" then return "ESCAPED: string metatable" end
return ("x"):len() == 1 and "SAFE" or "ESCAPED"
