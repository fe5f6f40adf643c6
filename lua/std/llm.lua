-- The language model: orcs.llm, orcs.llm_ping.
--
-- Every call goes to the host, which decides; a refusal is a value ({ok=false, error_kind=…}), never an
-- error. The closures stay the same whatever is granted or revoked, so a local copy of orcs.llm is as good as
-- orcs.llm.

local K = ...
local type, error, next, pcall = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.pcall
local rawget = K.raw.base.rawget
local running, tointeger = K.raw.coroutine.running, K.raw.math.tointeger
local invalid, expect_options = K.invalid, K.expect_options
local call, encode, orcs, streaming = K.call, K.encode, K.orcs, K.streaming

-- Gives each text to the script's callback, in a coroutine marked as streaming.
local function feeder(on_delta)
  return function(texts)
    local co = running()
    for i = 1, #texts do
      streaming[co] = true
      local ok, go_on = pcall(on_delta, texts[i])
      streaming[co] = nil
      if not ok then error(go_on, 0) end
      if go_on == false then return false end
    end
    return true
  end
end

local LOOP = { resolve = "boolean", max_tool_turns = "number", on_delta = "function" } -- these stay in the VM

-- `apart`: in a session of its own that is not kept.
local function ask(prompt, opts, apart)
  local sent, own, tools = {}, {}, nil
  if opts then
    for k, v in next, opts do -- one raw copy: what is checked is what is sent
      if LOOP[k] then
        if type(v) ~= LOOP[k] then return invalid(k .. ": a " .. LOOP[k] .. " expected, got a " .. type(v), k) end
        own[k] = v
      elseif type(v) == "number" then
        sent[k] = tointeger(v) or v -- 1e3 is a whole number to people
      elseif k == "tools" then
        sent[k], tools = K.tools_of(v)
      else
        sent[k] = v
      end
    end
  end
  local turns = own.max_tool_turns
  if turns and not (turns >= 1 and turns <= 100 and turns == turns // 1) then
    return invalid("max_tool_turns: a whole number from 1 to 100 expected", "max_tool_turns")
  end
  local on_events = own.on_delta and feeder(own.on_delta)
  local function one(text, options)
    local args, message, field = encode({ prompt = text, opts = options, streamed = on_events ~= nil, throwaway = apart })
    if not args then return invalid(message, field) end
    return call("llm", args, on_events)
  end
  if own.resolve and tools then return K.resolve(one, prompt, sent, tools, turns and turns // 1) end
  return one(prompt, sent)
end

function orcs.llm(prompt, opts)
  expect_options(opts, 2, "llm")
  if type(prompt) ~= "string" and not (prompt == nil and opts and rawget(opts, "tool_results") ~= nil) then
    error("bad argument #1 to 'llm' (string expected, got " .. (prompt == nil and "no value" or type(prompt)) .. ")", 2)
  end
  return ask(prompt, opts)
end

function K.ask_apart(prompt, opts) return ask(prompt, opts, true) end

function orcs.llm_ping(opts)
  expect_options(opts, 1, "llm_ping")
  local args, message, field = encode({ opts = opts or {} })
  if not args then return invalid(message, field) end
  return call("llm_ping", args)
end
