-- group: resource
-- attack: three children answer with 4 MiB each at once; twenty results are left lying
-- expect: SAFE|KILLED
-- correct: together they are no larger than one value may be
local ids, inputs = {}, {}
for i = 1, 3 do
  ids[i], inputs[i] = "c" .. i, 4 << 20
  orcs.spawn_child { id = ids[i], script = "return { run = function(n) return ('x'):rep(n) end }" }
end
local bytes = 0
for _, r in ipairs(orcs.send_to_children_batch(ids, inputs)) do bytes = bytes + #(r.result or "") end
for i = 1, 20 do orcs.send_to_child_async(ids[i % 3 + 1], 1 << 20) end
return bytes <= 8 << 20 and "SAFE" or "ESCAPED: " .. bytes
