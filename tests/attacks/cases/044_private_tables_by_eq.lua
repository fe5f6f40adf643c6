-- group: escape
-- attack: learn the list mark, the null or an encoder's private error through __eq, then arm it for every list
-- expect: SAFE
-- correct: raw comparisons everywhere
local seen = {}
local eq = function(_, other) seen[#seen + 1] = other return false end
local mt = setmetatable({}, { __eq = eq })
local t = setmetatable({}, mt)
getmetatable(t)
pcall(orcs.json_encode, t) pcall(orcs.json_encode, { t }) pcall(orcs.llm, "x", { session_id = t }) pcall(orcs.log, t, t) pcall(rawset, t, 1, 1)
pcall(orcs.json_encode, setmetatable({}, { __eq = eq })) pcall(orcs.array, t) pcall(tostring, t) pcall(orcs.can, "llm", t)
for _, v in ipairs(seen) do if v ~= t and v ~= mt then return "ESCAPED: " .. type(v) end end
return "SAFE"
