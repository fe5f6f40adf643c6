-- group: tamper
-- attack: enter the encoder again from a metamethod it calls: its state is shared
-- expect: SAFE
-- correct: no metamethod runs inside the encoder
local entered = 0
local m = function() entered = entered + 1 orcs.json_encode{ "inner" } return true end
local t = setmetatable({ "outer" }, { __eq = m, __len = m, __index = m, __lt = m, __le = m, __tostring = m, __pairs = m, __name = "x", __concat = m, __call = m })
local text = orcs.json_encode{ t, { t, k }, "end" }
return entered == 0 and text == '[["outer"],[["outer"]],"end"]' and "SAFE" or "ESCAPED: " .. entered .. " " .. text
