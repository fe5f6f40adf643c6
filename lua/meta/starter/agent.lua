-- An agent: sums a text up in one sentence. Run it with
--   luahost run agent.lua --config luahost.toml --input '"A long text."'

return {
  id = "agent",

  run = function(text)
    local answer = orcs.llm("Sum this up in one sentence:\n\n" .. (text or ""), {
      system_prompt = "You are brief.",
      max_tokens = 200,
    })
    if not answer.ok then return answer end -- says what is missing, and exit code 3, 4 or 5
    return { summary = answer.content, tokens = answer.usage and answer.usage.total }
  end,
}
