-- group: cpu
-- attack: a tree of coroutines, each too short for the count hook, ten levels deep: nowhere are there enough instructions
-- expect: KILLED
-- correct: the clock is looked at when coroutines are made, so the VM's own limit ends it
local function tree(depth)
  if depth == 0 then return end
  for i = 1, 6 do
    if i % 2 == 0 then coroutine.wrap(tree)(depth - 1) else coroutine.resume(coroutine.create(tree), depth - 1) end
  end
end
tree(20)
return "ESCAPED: it came to its end"
