-- group: concurrency
-- attack: failures that no strand raised: too many strands at once, an error in a close variable of what lost a race; nobody catches
-- expect: ERROR
-- correct: the task ends with the error's text and line, and the VM lives on
local bad = setmetatable({}, { __close = function() error(setmetatable({}, { __tostring = function() return "odd" end })) end })
local function lose() orcs.race { function() local x <close> = bad orcs.sleep(1) end, function() return 1 end } end
local function tree(n)
  if n == 0 then return end
  orcs.all { function() tree(n - 1) end, function() tree(n - 1) end, function() tree(n - 1) end }
end
if pcall(lose) or pcall(tree, 9) then return "ESCAPED: no error came" end
orcs.all { lose, lose }
