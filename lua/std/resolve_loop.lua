-- orcs.resolve_loop(backend, {prompt, max_turns=10}): the tool loop of orcs.llm for a backend that the script brings.
--
-- The backend is a function: given {prompt (at turn 0), tool_results, tools, turn_number} it returns {content, tool_calls =
-- {{id, name, arguments}, …}}. The calls are done by the intents that this VM may use, one after another, with the same
-- checks as a model's; it is over when a turn calls nothing. Source: UPSTREAM 1.3.

local K = ...
local type, rawget, rawlen = K.raw.base.type, K.raw.base.rawget, K.raw.base.rawlen
local pcall, tostring = K.pcall, K.tostring
local expect, invalid, orcs = K.expect, K.invalid, K.orcs

local MAX_TURNS, CAP, MAX_CALLS = 10, 100, 128

local function ended(kind, message, content, turns)
  return { ok = false, error = message, error_kind = kind, retryable = false, content = content, num_turns = turns, detail = {} }
end

-- What one call asks for, as the tool loop has it; arguments are a table, or the text of one as JSON.
local function read(call)
  if type(call) ~= "table" then return nil, {} end
  local name, params = rawget(call, "name"), rawget(call, "arguments")
  local intent = { id = rawget(call, "id"), params = params or {} }
  if type(params) == "string" then
    local ok, value = pcall(K.json_parse, params)
    intent.params = value
    if not ok or type(value) ~= "table" then intent.malformed = "JSON expected" end
  elseif params ~= nil and type(params) ~= "table" then
    intent.malformed = "a " .. type(params)
  end
  return name, intent
end

function orcs.resolve_loop(backend, opts)
  expect(backend, "function", 1, "resolve_loop")
  expect(opts, "table", 2, "resolve_loop")
  local prompt, most = rawget(opts, "prompt"), rawget(opts, "max_turns") or MAX_TURNS
  if type(prompt) ~= "string" then return invalid("prompt: a text expected", "prompt") end
  if type(most) ~= "number" or not (most >= 1) then return invalid("max_turns: a whole number from 1 on expected", "max_turns") end
  if most > CAP then most = CAP end
  local content, turn, results = "", 0, nil
  while turn < most do
    local tools, by_name, shown = K.intents_as_tools(true) or {}, {}, K.values.array {}
    for i = 1, #tools do
      by_name[tools[i].name] = tools[i]
      shown[i] = { name = tools[i].name, description = tools[i].description, parameters = tools[i].parameters }
    end
    local request = { prompt = turn == 0 and prompt or nil, tool_results = results, tools = shown, turn_number = turn }
    local ok, said = pcall(backend, request)
    turn = turn + 1
    if not ok then return ended("backend_failed", K.text_of_error(said), content, turn) end
    if type(said) ~= "table" then return ended("backend_failed", "the backend returned a " .. type(said) .. ", not {content, tool_calls}", content, turn) end
    if rawget(said, "ok") == false then
      return ended(rawget(said, "error_kind") or "backend_failed", tostring(rawget(said, "error")), content, turn)
    end
    local text, calls = rawget(said, "content"), rawget(said, "tool_calls")
    if type(text) == "string" then content = text end
    local n = type(calls) == "table" and rawlen(calls) or 0
    if n == 0 then return { ok = true, content = content, num_turns = turn } end
    if n > MAX_CALLS then return ended("backend_failed", "more than " .. MAX_CALLS .. " calls in one turn", content, turn) end
    results = K.values.array {}
    for i = 1, n do
      local name, intent = read(rawget(calls, i))
      results[i] = K.answer(type(name) == "string" and by_name[name] or nil, intent)
      results[i].name = name
    end
  end
  return ended("tool_loop_limit", "the backend still calls tools after max_turns = " .. tostring(most), content, turn)
end
