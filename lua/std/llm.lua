-- The language model: orcs.llm, orcs.llm_ping, orcs.llm_models.
--
-- Every call goes to the host, which decides; a refusal is a value ({ok=false, error_kind=…}), never an
-- error. The closures stay the same whatever is granted or revoked, so a local copy of orcs.llm is as good as
-- orcs.llm. What can be done in the VM is done here, with no more rights than the script has: the callbacks, the
-- next model of `fallback` (fallback.lua), the check of an answer against response_schema (structured.lua), tools.

local K = ...
local type, error, next, pcall = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.pcall
local rawget, rawequal, NULL = K.raw.base.rawget, K.raw.base.rawequal, K.values.NULL
local running, tointeger = K.raw.coroutine.running, K.raw.math.tointeger
local invalid, expect, expect_options = K.invalid, K.expect, K.expect_options
local call, encode, orcs, streaming = K.call, K.encode, K.orcs, K.streaming

-- ── callbacks ─────────────────────────────────────────────────────────────────────────────────────────────

local CONTENT = { text = true, thinking = true, refusal = true, image = true, tool_call = true }

-- Calls the script's function with one piece, in a coroutine marked as streaming; false: it wants no more.
local function give(co, f, piece)
  streaming[co] = true
  local ok, go_on = pcall(f, piece)
  streaming[co] = nil
  if not ok then error(go_on, 0) end
  return go_on ~= false
end

-- What takes a batch of pieces: texts, or events when there is an on_event. `heard.content` is set once the
-- script was given something of an answer.
local function feeder(on_delta, on_event, heard)
  return function(pieces)
    local co = running()
    for i = 1, #pieces do
      local piece = pieces[i]
      if not on_event then
        heard.content = true
        if not give(co, on_delta, piece) then return false end
      else
        heard.content = heard.content or CONTENT[piece.type]
        local is_text, text = piece.type == "text", piece.text -- before the script can change them
        if not give(co, on_event, piece) then return false end
        if on_delta and is_text and not give(co, on_delta, text) then return false end
      end
    end
    return true
  end
end

-- ── the call ──────────────────────────────────────────────────────────────────────────────────────────────

local IN_THE_VM = {
  resolve = "boolean", max_tool_turns = "number", on_delta = "function", on_event = "function", hil_intents = "boolean",
}

-- Every failure of a call says how often it was tried and whether it costs; the host says so where it was tried.
local function complete(result)
  if type(result) == "table" and result.ok == false then
    local detail = result.detail
    detail.attempts = detail.attempts or 0
    detail.billed = detail.billed or "no"
  end
  return result
end

-- `apart`: in a session of its own that is not kept.
local function ask(prompt, opts, apart)
  local sent, own, tools = {}, {}, nil
  if opts then
    for k, v in next, opts do -- one raw copy: what is checked is what is sent
      if rawequal(v, NULL) then
        -- as if it was not there: options may come out of JSON
      elseif IN_THE_VM[k] then
        if type(v) ~= IN_THE_VM[k] then
          return complete(invalid(k .. ": a " .. IN_THE_VM[k] .. " expected, got a " .. type(v), k))
        end
        own[k] = v
      elseif type(v) == "number" then
        sent[k] = tointeger(v) or v -- 1e3 is a whole number to people
      elseif k == "tools" then
        if v == true then v = K.intents_as_tools(true) end
        local wrong
        sent[k], tools, wrong = K.tools_of(v)
        if wrong then return complete(wrong) end
      elseif k == "tool_results" then
        sent[k] = K.results_of(v)
      else
        sent[k] = v
      end
    end
  end
  if own.resolve and sent.tools == nil and K.registered then sent.tools, tools = K.tools_of(K.intents_as_tools(false)) end
  local turns = own.max_tool_turns
  if turns and not (turns >= 1 and turns <= 100 and turns == turns // 1) then
    return complete(invalid("max_tool_turns: a whole number from 1 to 100 expected", "max_tool_turns"))
  end
  local heard = {}
  local on_delta, on_event = own.on_delta, own.on_event
  local on_events = (on_delta or on_event) and feeder(on_delta, on_event, heard)
  local resolving = own.resolve and tools
  local function exchange(text, options)
    local args, message, field = encode({
      prompt = text, opts = options, streamed = on_events ~= nil, events = on_event and "all" or "text",
      throwaway = apart, resolving = resolving and true or nil,
    })
    if not args then return complete(invalid(message, field)) end
    return complete(call("llm", args, on_events))
  end
  local one = exchange
  if sent.fallback ~= nil then
    one = K.with_fallback(exchange, sent, heard, on_event and function(event) give(running(), on_event, event) end)
  end
  if sent.response_schema ~= nil then one = K.structured(one, sent.response_schema, resolving) end
  if resolving then return K.resolve(one, prompt, sent, tools, turns and turns // 1) end
  return one(prompt, sent)
end

function orcs.llm(prompt, opts)
  expect_options(opts, 2, "llm")
  local answers = prompt == nil and opts and rawget(opts, "tool_results") ~= nil
  if not answers then expect(prompt, "string", 1, "llm") end
  return ask(prompt, opts)
end

function K.ask_apart(prompt, opts) return ask(prompt, opts, true) end

local function ask_about(name)
  return function(opts)
    expect_options(opts, 1, name)
    return K.ask(name, { opts = opts or {} })
  end
end

orcs.llm_ping = ask_about("llm_ping")     -- is the server there, and does it take the key?
orcs.llm_models = ask_about("llm_models") -- and which models does it have?
