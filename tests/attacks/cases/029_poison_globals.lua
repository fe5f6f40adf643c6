-- group: tamper
-- attack: replace every global function, then use the host: the boot files must not look at a script's names
-- expect: SAFE
-- correct: boot files hold what they use in locals
local pc, err, out = pcall, error, {}
local o, r, ty, pairs = orcs, require, type, pairs
for k, v in pairs(_G) do if ty(v) == "function" then _G[k] = function() out[#out + 1] = k err("poisoned " .. k, 0) end end end
_G.string, _G.table, _G.math, _G.coroutine, _G.os, _G.utf8 = nil, nil, nil, nil, nil, nil
pc(o.llm, "x") pc(o.json_encode, { 1, { a = 2 } }) pc(o.json_parse, '{"a":[1,2.5,null]}') pc(r, "good") pc(o.log, "info", "x") pc(o.sleep, 0)
return #out == 0 and "SAFE" or "ESCAPED: the boot code called the script's " .. out[1]
