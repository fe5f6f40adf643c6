orcs.register_intent { name = "honest", run = function() return "honest" end }
local function backend(turn)
  if turn.turn_number > 0 then return { content = turn.tool_results[1].content } end
  return { tool_calls = { { id = "1", name = "honest", arguments = {} } } }
end
return orcs.resolve_loop(backend, { prompt = "p" }).content == "honest" and "CONTROL"
