-- group: data
-- attack: intents whose run returns cycles, raises odd things, changes the registry under its feet; backends that lie; then one that loops
-- expect: KILLED
-- correct: each is a result for the caller; the loop without end is ended by the CPU limit
local cycle = {} cycle.cycle = cycle
local odd = setmetatable({}, { __index = function() error("odd") end, __tostring = function() error("odd") end, __len = function() return 1e9 end })
local runs = {
  cycles = function() return cycle end, raises = function() error(odd) end, odds = function() return odd end,
  leaves = function() orcs.unregister_intent("leaves") return "gone" end, yields = function() return coroutine.yield("out") end,
  again = function() return orcs.register_intent { name = "again", run = print } end,
}
local calls = {}
for name, run in pairs(runs) do
  assert(orcs.register_intent { name = name, run = run }.ok)
  calls[#calls + 1] = { id = name, name = name, arguments = {} }
end
calls[#calls + 1] = odd
calls[#calls + 1] = { id = cycle, name = cycle, arguments = odd }
local function backend(turn)
  if turn.turn_number == 0 then return { tool_calls = calls } end
  if turn.turn_number == 1 then return { tool_calls = odd } end
  return odd
end
local r = orcs.resolve_loop(backend, { prompt = "p" })
if type(r) ~= "table" or r.num_turns ~= 2 then return "ESCAPED: no result" end
if orcs.register_intent(setmetatable({ name = "x", run = print, parameters = cycle }, { __index = odd })).ok then return "ESCAPED: a cycle" end
orcs.register_intent { name = "loop", run = function() while true do end end }
pcall(orcs.resolve_loop, function() return { tool_calls = { { id = "1", name = "loop", arguments = {} } } } end, { prompt = "p" })
return "ESCAPED: went on"
