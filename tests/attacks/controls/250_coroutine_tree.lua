local leaves = 0
local function tree(depth)
  if depth == 0 then leaves = leaves + 1 return end
  for i = 1, 3 do coroutine.wrap(tree)(depth - 1) end
end
tree(6)
return leaves == 729 and "CONTROL"
