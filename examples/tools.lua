-- An agent with tools: the model asks, the script answers, under the script's own grants.
--
--   luahost run examples/tools.lua --grant llm:max_calls=8 --input '"What is in the pantry, and is it enough for 4?"'

local pantry = { flour = 500, eggs = 2, milk = 250 }

local tools = {
  {
    name = "stock",
    description = "How much of an ingredient there is, in grams, millilitres or pieces.",
    parameters = {
      type = "object",
      properties = { ingredient = { type = "string", enum = { "flour", "eggs", "milk" } } },
      required = { "ingredient" },
      additionalProperties = false,
    },
    run = function(args)
      orcs.log("info", "the model looks up " .. args.ingredient)
      return pantry[args.ingredient]
    end,
  },
}

return function(question)
  local answer = orcs.llm(question or 'call stock {"ingredient": "eggs"}', {
    system_prompt = "You are a cook. Look things up before you answer.",
    tools = tools,
    resolve = true,        -- run the calls here, give the results back, until the model is done
    max_tool_turns = 4,
  })
  if not answer.ok then error(answer.error) end
  return { answer = answer.content, turns = answer.turns, tokens = answer.usage and answer.usage.total }
end
