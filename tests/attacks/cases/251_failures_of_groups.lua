-- group: concurrency
-- attack: failures that no strand raised: too many strands at once, an error in a close variable of what lost a race; nobody catches
-- expect: ERROR
-- correct: the task ends with the error's text and line, and the VM lives on
local bad = setmetatable({}, { __close = function() error(setmetatable({}, { __tostring = function() return "odd" end })) end })
local function lose() orcs.race { function() local x <close> = bad orcs.sleep(1) end, function() return 1 end } end
local function too_many()
  local list = {}
  for i = 1, 10001 do list[i] = 1 end
  orcs.map(list, orcs.sleep, { concurrency = 1e5 })
end
if pcall(lose) or pcall(orcs.all, { too_many }) then return "ESCAPED: no error came" end
orcs.all { function() orcs.all { lose } end, too_many }
