-- Tools: with resolve=true the calls a model makes are run in this VM, under this VM's own grants, and their
-- results go back, until the model is done or max_tool_turns are used.
--
-- A tool is {name, description, parameters, run = function(args), parallel = true}. Arguments that do not fit the
-- schema, an unknown name and an error in run are results for the model, never the script's end. The calls of one
-- turn to tools that say parallel are run at the same time, the others one after another. A turn that calls a tool
-- without a run comes back as intents, none of it run. Whatever ends the loop, no call stays unanswered in the session.

local K = ...
K.need("boot/groups.lua")
local type, next, rawget = K.raw.base.type, K.raw.base.next, K.raw.base.rawget
local concat, format, huge = K.raw.table.concat, K.raw.string.format, K.raw.math.huge
local call, encode, pcall, json_encode, tostring = K.call, K.encode, K.pcall, K.json_encode, K.tostring
local misfit, strands, sort = K.misfit, K.strands, K.libs.table.sort

local MAX_TURNS, REMIND_AT = 10, 3
local CONTINUE = "Continue exactly where you stopped."

-- ── one call of the model ─────────────────────────────────────────────────────────────────────────────────

local function as_text(value)
  if type(value) == "string" then return value end
  if value == nil then return "done" end
  local ok, text = pcall(json_encode, value)
  return ok and text or tostring(value)
end

-- What the model is told, and whether it is an error.
local function run(tool, intent)
  if not tool then return "there is no tool of this name", true end
  if intent.malformed then
    return "not run: the arguments are not one JSON object: " .. intent.malformed, true
  end
  local problem = misfit(intent.params, tool.parameters, "arguments")
  if problem then return problem, true end
  local value = tool.run(intent.params)
  if type(value) == "table" and rawget(value, "ok") == false then
    return as_text(rawget(value, "error") or value), true
  end
  return as_text(value), false
end

local function answer(tool, intent)
  local ok, content, is_error = pcall(run, tool, intent)
  if not ok then content, is_error = K.text_of_error(content), true end
  return { id = intent.id, content = content, is_error = is_error }
end
K.answer = answer

local function answers(intents, tools, remaining)
  local results, together = {}, {}
  for i = 1, #intents do
    local tool = tools[intents[i].name]
    if tool and tool.parallel then together[#together + 1] = i end
  end
  if #together > 1 then
    local function each(i) results[i] = answer(tools[intents[i].name], intents[i]) end
    strands.run({ items = together, f = each, concurrency = huge })
  end
  for i = 1, #intents do
    results[i] = results[i] or answer(tools[intents[i].name], intents[i])
  end
  if remaining <= REMIND_AT then
    local last = results[#results]
    last.content = format("%s\n[%d more tool turn%s]", last.content, remaining, remaining == 1 and "" or "s")
  end
  return results
end

local function left_to_the_script(intents, tools)
  for i = 1, #intents do
    local tool = tools[intents[i].name]
    if tool and not tool.run then return true end
  end
  return false
end

local function refused(calls, why)
  local results = {}
  for i = 1, #calls do results[i] = { id = calls[i].id, content = why, is_error = true } end
  return results
end

-- Puts results into the session without asking the model.
local function settle(session_id, results)
  local args = encode({ session_id = session_id, tool_results = results })
  call("sessions.answer", args or encode({ session_id = session_id, tool_results = refused(results, "the results were too large to be kept") }))
end

-- ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

-- What is sent to the host, and {name → {run, parallel, parameters}} of this call; nil for an option of another shape. A text
-- in the list names an intent; the third is the failed result where there is none for this VM.
function K.tools_of(given)
  if type(given) ~= "table" then return given, nil end
  local sent, tools = {}, {}
  for i, tool in next, given do
    if type(tool) == "string" then
      local wrong
      tool, wrong = K.intent_as_tool(tool, format("tools[%s]", tostring(i)))
      if not tool then return nil, nil, wrong end
    end
    local plain = tool
    if type(tool) == "table" then
      plain = {}
      for k, v in next, tool do
        if k ~= "run" and k ~= "parallel" then plain[k] = v end
      end
      local name, f = plain.name, rawget(tool, "run")
      if type(name) == "string" then
        tools[name] = {
          run = type(f) == "function" and f or nil, parallel = rawget(tool, "parallel") == true, parameters = plain.parameters,
        }
      end
    end
    sent[i] = plain
  end
  return sent, tools
end

-- tool_results as the host takes them: {id, content} each. {[id] = value, …} is another way to write them.
function K.results_of(given)
  if type(given) ~= "table" or type(next(given)) ~= "string" then return given end
  local ids, results = {}, {}
  for id in next, given do
    if type(id) ~= "string" then return given end
    ids[#ids + 1] = id
  end
  sort(ids)
  for i = 1, #ids do results[i] = { id = ids[i], content = as_text(given[ids[i]]) } end
  return results
end

-- Asks until the model is done. `one(prompt, sent)` is a single exchange.
function K.resolve(one, prompt, sent, tools, max_turns)
  max_turns = max_turns or MAX_TURNS
  local total, content, turns = {}, {}, 0
  local pending -- results that are with no session yet
  while true do
    local result = one(prompt, sent)
    turns = turns + 1
    K.add_up(total, result)
    sent.session_id = result.session_id or sent.session_id
    if result.ok and result.content ~= "" then content[#content + 1] = result.content end
    local intents = result.ok and result.intents
    local cut_off = result.ok and not intents and result.stop_reason == "max_tokens" and result.content ~= ""
    local over = turns >= max_turns
    local handed_back = intents and left_to_the_script(intents, tools)
    if not result.ok or not (intents or cut_off) or over or handed_back then
      for name, value in next, total do result[name] = value end
      result.turns = turns
      if result.ok or #content > 0 then result.content = concat(content) end
      if not result.ok and pending then settle(sent.session_id, pending) end
      if intents and over and not handed_back then
        settle(sent.session_id, refused(intents, "not run: the limit of tool turns is reached"))
        result.ok, result.error_kind, result.retryable = false, "tool_loop_limit", false
        result.error = format("the model still calls tools after max_tool_turns = %d", max_turns)
        result.detail = { limit = max_turns }
      end
      return result
    end
    if intents then
      pending = answers(intents, tools, max_turns - turns)
      prompt, sent.tool_results = nil, pending
    else
      pending, sent.tool_results, prompt = nil, nil, CONTINUE
    end
  end
end
