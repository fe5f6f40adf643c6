-- Tools: with resolve=true the calls a model makes are run in this VM, under this VM's own grants, and their
-- results go back, until the model is done or max_tool_turns are used.
--
-- A tool is {name, description, parameters, run = function(args)}. Arguments that do not fit the schema, an
-- unknown name and an error in run are results for the model, never the script's end. Whatever ends the loop, no
-- call stays unanswered in the session.

local K = ...
local type, next, rawlen, rawget = K.raw.base.type, K.raw.base.next, K.raw.base.rawlen, K.raw.base.rawget
local math_type, concat, format = K.raw.math.type, K.raw.table.concat, K.raw.string.format
local call, encode, pcall, json_encode, tostring = K.call, K.encode, K.pcall, K.json_encode, K.tostring
local NULL, shape = K.values.NULL, K.values.shape

local MAX_TURNS, REMIND_AT = 10, 3
local CONTINUE = "Continue exactly where you stopped."

-- ── arguments against their schema: type, required, properties, additionalProperties, items, enum ───────────

local IS = {
  string = function(v) return type(v) == "string" end,
  boolean = function(v) return type(v) == "boolean" end,
  number = function(v) return type(v) == "number" end,
  integer = function(v) return type(v) == "number" and (math_type(v) == "integer" or v == v // 1) end,
  null = function(v) return v == NULL end,
  object = function(v) return type(v) == "table" and v ~= NULL and shape(v) == "object" end,
  array = function(v) return type(v) == "table" and v ~= NULL and (shape(v) == "array" or next(v) == nil) end,
}

local function list(t) return type(t) == "table" and t or {} end

-- nil when `v` fits, else what was wanted and where.
local function misfit(v, schema, at)
  if type(schema) ~= "table" then return nil end
  local wanted = rawget(schema, "type")
  if type(wanted) == "string" and IS[wanted] and not IS[wanted](v) then
    return format("%s: %s expected, got %s", at, wanted, v == NULL and "null" or type(v))
  end
  local enum = rawget(schema, "enum")
  if type(enum) == "table" then
    local found = false
    for i = 1, rawlen(enum) do found = found or rawget(enum, i) == v end
    if not found then return at .. ": none of the allowed values" end
  end
  if type(v) ~= "table" then return nil end
  local properties = list(rawget(schema, "properties"))
  local required = list(rawget(schema, "required"))
  for i = 1, rawlen(required) do
    local name = rawget(required, i)
    if rawget(v, name) == nil then return format("%s.%s: is required", at, tostring(name)) end
  end
  for name, each in next, v do
    local known = rawget(properties, name)
    if known ~= nil then
      local problem = misfit(each, known, at .. "." .. tostring(name))
      if problem then return problem end
    elseif rawget(schema, "additionalProperties") == false then
      return format("%s.%s: no such argument", at, tostring(name))
    end
  end
  local items = rawget(schema, "items")
  if type(items) == "table" then
    for i = 1, rawlen(v) do
      local problem = misfit(rawget(v, i), items, at .. "[" .. i .. "]")
      if problem then return problem end
    end
  end
  return nil
end

-- ── one call of the model ─────────────────────────────────────────────────────────────────────────────────

local function as_text(value)
  if type(value) == "string" then return value end
  if value == nil then return "done" end
  local ok, text = pcall(json_encode, value)
  return ok and text or tostring(value)
end

local function run(tool, intent)
  if not tool then return "there is no tool of this name", true end
  local problem = misfit(intent.params, tool.parameters, "arguments")
  if problem then return problem, true end
  local ok, value = pcall(tool.run, intent.params)
  if not ok then return K.text_of_error(value), true end
  if type(value) == "table" and rawget(value, "ok") == false then
    return as_text(rawget(value, "error") or value), true
  end
  return as_text(value), false
end

local function answers(intents, tools, remaining)
  local results = {}
  for i = 1, #intents do
    local content, is_error = run(tools[intents[i].name], intents[i])
    results[i] = { id = intents[i].id, content = content, is_error = is_error }
  end
  if remaining <= REMIND_AT then
    local last = results[#results]
    last.content = format("%s\n[%d more tool turn%s]", last.content, remaining, remaining == 1 and "" or "s")
  end
  return results
end

-- Puts results into the session without asking the model.
local function settle(session_id, results)
  call("sessions.answer", (encode({ session_id = session_id, tool_results = results })))
end

local function refused(intents, why)
  local results = {}
  for i = 1, #intents do results[i] = { id = intents[i].id, content = why, is_error = true } end
  return results
end

-- ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

local SUMMED = { "attempts", "latency_ms", "queue_ms" }

local function add(total, result)
  for i = 1, #SUMMED do
    local name = SUMMED[i]
    if result[name] then total[name] = (total[name] or 0) + result[name] end
  end
  for name, n in next, result.usage or {} do
    total.usage = total.usage or {}
    total.usage[name] = (total.usage[name] or 0) + n
  end
end

-- `tools`: {name → {run, parameters}} of this call, or nil for an option of another shape
function K.tools_of(given)
  if type(given) ~= "table" then return given, nil end
  local sent, tools = {}, {}
  for i, tool in next, given do
    local plain = tool
    if type(tool) == "table" then
      plain = {}
      for k, v in next, tool do
        if k ~= "run" then plain[k] = v end
      end
      if type(tool.run) == "function" and type(tool.name) == "string" then tools[tool.name] = tool end
    end
    sent[i] = plain
  end
  return sent, tools
end

-- Asks until the model is done. `one(prompt, sent)` is a single exchange.
function K.resolve(one, prompt, sent, tools, max_turns)
  max_turns = max_turns or MAX_TURNS
  local total, content, turns = {}, {}, 0
  local pending -- results that are with no session yet
  while true do
    local result = one(prompt, sent)
    turns = turns + 1
    add(total, result)
    sent.session_id = result.session_id or sent.session_id
    if result.ok and result.content ~= "" then content[#content + 1] = result.content end
    local intents = result.ok and result.intents
    local cut_off = result.ok and not intents and result.stop_reason == "max_tokens" and result.content ~= ""
    local over = turns >= max_turns
    if not result.ok or not (intents or cut_off) or over then
      for name, value in next, total do result[name] = value end
      result.turns = turns
      if result.ok or #content > 0 then result.content = concat(content) end
      if not result.ok and pending then settle(sent.session_id, pending) end
      if intents and over then
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
