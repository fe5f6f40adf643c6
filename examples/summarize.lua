-- Summarizes a text, streamed as the model says it.
--
--   luahost run examples/summarize.lua --input @README.md --grant llm
--
-- Without the grant orcs.llm answers {ok=false, error_kind="permission_denied"}; nothing is sent anywhere.

local function run(text)
  if type(text) ~= "string" or text == "" then
    error("a text to summarize is wanted: --input @FILE", 0)
  end
  local answer = orcs.llm(text, {
    system_prompt = "Summarize the user's text in at most three sentences.",
    on_delta = orcs.output, -- inside on_delta, output writes each piece as it is
  })
  if not answer.ok then error(answer.error) end
end

return { id = "summarize", run = run }
