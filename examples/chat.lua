-- A small chat that keeps its sessions itself: what is said in one run is remembered in the next.
--
--   luahost run examples/chat.lua --input '{"lines": ["My name is Ada.", "What is my name?"]}' --grant llm
--
-- input   {lines = {…}, saved = what an earlier run returned as `saved`, or nothing}
-- result  {answers = {…}, saved = text, turns = how many messages the session has by now}

local SESSION = "chat"

local function restore(saved)
  local loaded = orcs.llm_load_sessions(saved)
  if not loaded.ok then error(loaded.error) end
end

local function run(input)
  if type(input) ~= "table" or type(input.lines) ~= "table" then
    error('an input like {"lines": ["…"]} is wanted', 0)
  end
  if input.saved then restore(input.saved) end
  local answers = orcs.array {}
  for i, line in ipairs(input.lines) do
    local answer = orcs.llm(line, { session_id = SESSION, system_prompt = "Answer in one sentence." })
    if not answer.ok then error(answer.error) end
    answers[i] = answer.content
  end
  local saved = orcs.llm_dump_sessions()
  return { answers = answers, saved = saved, turns = #(orcs.json_parse(saved)[SESSION] or {}) }
end

return { id = "chat", run = run }
