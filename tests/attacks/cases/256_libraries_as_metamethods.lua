-- group: crash
-- attack: every function of Lua and of orcs as every metamethod of a table, which then goes through all that calls metamethods
-- expect: SAFE|KILLED
-- correct: errors at worst
local functions = {
  table.unpack, rawget, rawset, rawequal, rawlen, assert, tostring, type, pairs, ipairs, next, select, error, pcall, xpcall, load, setmetatable,
  getmetatable, string.rep, string.format, string.find, string.gsub, table.insert, table.concat, table.sort, math.max, utf8.char, os.time, os.date,
  coroutine.wrap, coroutine.yield, coroutine.resume, coroutine.close, coroutine.running, orcs.llm, orcs.now, orcs.all, orcs.map, require, print,
}
local names = { "index", "newindex", "call", "add", "concat", "len", "eq", "lt", "le", "unm", "close", "tostring", "name", "pairs", "mode" }
for _, f in ipairs(functions) do
  local mt = {}
  for _, name in ipairs(names) do mt["__" .. name] = f end
  local t, u = setmetatable({}, mt), setmetatable({}, mt)
  for _, use in ipairs {
    function() return t.x end, function() t.x = t end, function() return t(u) end, function() return t + u end, function() return t .. u end,
    function() return #t end, function() return t == u end, function() return t < u end, function() return -t end, function() local x <close> = t end,
    function() return tostring(t), pairs(t), string.format("%s", t) end, function() table.sort { t, u, t } end, function() return table.concat { t, u } end,
    function() return orcs.json_encode(t) end, function() error(t) end, function() return table.unpack(t, 1, 3) end, function() print(t) end,
  } do
    pcall(use)
    coroutine.resume(coroutine.create(use))
  end
end
return "SAFE"
