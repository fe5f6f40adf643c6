-- group: crash
-- attack: be at the C stack's end when a part of the library is loaded that nobody used before, and use it again afterwards
-- expect: SAFE
-- correct: an error at worst; a part that was not loaded whole is loaded again
local parts = {
  function() return ("aXb"):gsub("%u*", "") end, function() return orcs.toml_encode { a = 1 } end, function() return orcs.json_encode { 1 } end,
  function() return coroutine.wrap(function() return 1 end)() end, function() return load("return 1")() end,
  function() return table.sort { 3, 2, 1 } end, function() return orcs.hash("x") end, function() return orcs.text.len("x") end,
}
local function deep(n, f)
  if n == 0 then return f() end
  return setmetatable({}, { __index = function() return deep(n - 1, f) end }).x
end
local failed = 0
for n = 199, 150, -1 do
  for i = 1, #parts do if not pcall(deep, n, parts[i]) then failed = failed + 1 end end
end
if failed == 0 then return "ESCAPED: the stack has no end" end
local wrong = orcs.toml_encode { a = 1 } ~= "a = 1\n" or ("aXb"):gsub("%u+", "") ~= "ab" or orcs.json_encode { 1 } ~= "[1]"
  or orcs.hash("") ~= "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" or load("return 7")() ~= 7
return wrong and "ESCAPED: half a part is in use" or "SAFE"
