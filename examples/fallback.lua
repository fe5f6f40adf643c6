-- Asks one model and, where that cannot answer, another; says which one did, and what was wrong with the first.
--
--   luahost run examples/fallback.lua --grant llm --input '{"ask": "Why is the sky blue?", "models": ["openai/gpt-4o", "ollama/llama3.2"]}'

local function split(name)
  local provider, model = name:match("^([^/]+)/(.+)$")
  if not provider then error('models like "provider/model" are wanted, got ' .. name, 0) end
  return provider, model
end

return function(input)
  if type(input) ~= "table" or type(input.ask) ~= "string" or type(input.models) ~= "table" then
    error('an input like {"ask": "…", "models": ["provider/model", …]} is wanted', 0)
  end
  local provider, model = split(input.models[1])
  local answer = orcs.llm(input.ask, {
    provider = provider,
    model = model,
    max_retries = 1,
    overall_timeout = 60,                                  -- of all of them together
    fallback = { table.unpack(input.models, 2) },
    on_event = function(event)
      if event.type == "fallback" then orcs.log("warn", event.model .. " could not answer: " .. event.error) end
    end,
  })
  if not answer.ok then error(answer.error) end
  return { answer = answer.content, by = answer.provider .. "/" .. answer.model, failed = answer.fallbacks or orcs.array {} }
end
