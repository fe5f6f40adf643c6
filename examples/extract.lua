-- Takes facts out of a text, as a table that fits a schema: an answer that does not is refused, and asked for again.
--
--   luahost run examples/extract.lua --input @README.md --grant 'llm:max_calls=3;max_cost_usd=0.05'

local schema = {
  type = "object",
  properties = {
    title = { type = "string", description = "What the text is about, in a few words.", maxLength = 120 },
    words = { type = "integer", description = "About how many words it has.", minimum = 1 },
    kind = { type = "string", enum = { "documentation", "story", "letter", "code", "other" } },
    claims = { type = "array", items = { type = "string" }, description = "What it promises.", minItems = 1 },
  },
  required = { "title", "words", "kind", "claims" },
  additionalProperties = false,
}

local TRIES = 3

return function(text)
  if type(text) ~= "string" or text == "" then error("a text is wanted: --input @FILE", 0) end
  local prompt, session = text, nil
  for _ = 1, TRIES do
    local answer = orcs.llm(prompt, {
      system_prompt = "Extract what the schema asks for from the user's text.",
      response_schema = schema,
      session_id = session,
    })
    if answer.ok then return { facts = answer.parsed, usage = answer.usage } end
    if answer.error_kind ~= "invalid_response" then error(answer.error) end
    session = answer.session_id -- the answer that did not fit is in it
    prompt = "That does not fit: " .. answer.detail.path .. ": " .. answer.detail.reason .. ". Again, the JSON alone."
  end
  error("no answer that fits in " .. TRIES .. " tries")
end
