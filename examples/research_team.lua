-- A manager and three children: each gets one of the manager's models and a share of its budget, and no more.
--
--   luahost run examples/research_team.lua --tree --audit audit.jsonl --grant spawn \
--     --grant 'llm:models=scout-1,writer-1,critic-1;max_calls=6'
--
-- The scout answers. The writer also asks for the critic's model, and is refused. The critic takes long, and the
-- manager takes its grant away while the answer still streams in. All three run at the same time.

local WORKER = [[
  local job = ...

  local function ask(model)
    local begun = false
    local answer = orcs.llm(job.question, {
      model = model,
      on_delta = function()
        if not begun then orcs.log("info", model .. " begins to answer") end
        begun = true
      end,
    })
    return {
      model = model,
      outcome = answer.ok and "answered" or answer.error_kind,
      heard = #(answer.content or answer.detail.partial or ""),
    }
  end

  return {
    id = "worker",
    run = function(models)
      local asked = {}
      for i, model in ipairs(models) do asked[i] = ask(model) end
      return asked
    end,
    on_signal = function() return "Handled" end,
  }
]]

local function hire(id, model, calls, question)
  local child = orcs.spawn_child {
    id = id,
    script = WORKER,
    input = { question = question },
    caps = { llm = { models = { model }, max_calls = calls } }, -- no spawn: a worker has no children
  }
  if not child.ok then error(child.error) end
  return child
end

local function is_streaming(child)
  return (child:usage().output_bytes or 0) > 0 -- it says so
end

local function run(question)
  question = question or "What is a monad, and why should a cook care?"
  local scout = hire("scout", "scout-1", 2, question)
  local writer = hire("writer", "writer-1", 2, question)
  local critic = hire("critic", "critic-1", 2, question .. (" Be thorough."):rep(10))

  -- What a worker asks for more than it was given is refused before it exists.
  local greedy = orcs.spawn_child { id = "greedy", script = WORKER, caps = { llm = { max_calls = 100 } } }
  if greedy.error_kind ~= "capability_widening" then error("a child was given more than its parent has") end

  local results = orcs.all {
    function() return scout:run { "scout-1" } end,
    function() return writer:run { "writer-1", "critic-1" } end,
    function() return critic:run { "critic-1" } end,
    function()
      repeat orcs.sleep(0.02) until is_streaming(critic)
      critic:revoke("llm")
    end,
  }

  for i, id in ipairs { "scout", "writer", "critic" } do
    local told = results[i]
    if not told.ok then error(id .. ": " .. told.error) end
    for _, asked in ipairs(told.result) do
      orcs.output(("%s asked %s: %s"):format(id, asked.model, asked.outcome))
    end
  end
  orcs.output(("%d of the manager's calls are left"):format(orcs.caps().llm.remaining.calls))
end

return { id = "research_team", run = run }
