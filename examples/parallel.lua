-- Several questions at the same time, at most three at once, each for so many seconds; the answers in their order.
--
--   luahost run examples/parallel.lua --grant llm --input '{"questions": ["Why is the sky blue?", "What is a quark?"]}'

return function(input)
  local seconds = input.seconds or 60

  local answers = orcs.map(input.questions, function(question)
    return orcs.timeout(seconds, function()
      return orcs.llm(question, { system_prompt = "Answer in one sentence." })
    end)
  end, { concurrency = 3 })

  for i, answer in ipairs(answers) do
    orcs.output(i .. ". " .. input.questions[i])
    orcs.output("   " .. (answer.ok and answer.content or "no answer: " .. answer.error_kind))
  end
end
