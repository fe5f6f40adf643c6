-- fallback = {"provider/model", {provider=, model=}, …}: who is asked when the one before could not answer.
--
-- Each attempt is a call of its own: judged by the gate by itself, counted, audited, and in the session only if it
-- succeeded. Never after something of an answer reached the script. overall_timeout bounds all of them together.
-- Within one call of orcs.llm who answered goes on answering: a tool loop does not go back to who failed.

local K = ...
local type, next, rawget, rawlen = K.raw.base.type, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawlen
local find, sub = K.raw.string.find, K.raw.string.sub

-- On what the next is asked, unless the script says: the server is at fault and nothing was heard. A rate_limit whose wait
-- fitted was waited for before it came out as a failure.
local ON = {
  overloaded = true, rate_limit = true, server_error = true, connection_refused = true, connection_reset = true,
  dns = true, tls = true, network = true, timeout = true, empty_response = true, stream_incomplete = true,
  parse_error = true,
}

local function kinds(list)
  if type(list) ~= "table" then return ON end
  local set = {}
  for i = 1, rawlen(list) do
    local kind = rawget(list, i)
    if kind ~= nil then set[kind] = true end
  end
  return set
end

-- {provider, model} of an entry; the host has said what was wrong with one that is neither text nor table.
local function route(entry)
  if type(entry) == "table" then return { rawget(entry, "provider"), rawget(entry, "model") } end
  if type(entry) ~= "string" then return {} end
  local slash = find(entry, "/", 1, true)
  if not slash then return { entry } end
  local model = sub(entry, slash + 1)
  return { sub(entry, 1, slash - 1), model ~= "" and model or nil }
end

local SUMMED = { "attempts", "latency_ms", "queue_ms" }

-- Adds what an earlier exchange took to the result of a later one.
function K.add_up(total, result)
  for i = 1, #SUMMED do
    local name = SUMMED[i]
    if result[name] then total[name] = (total[name] or 0) + result[name] end
  end
  for name, n in next, result.usage or {} do
    total.usage = total.usage or {}
    if type(n) == "number" then
      total.usage[name] = (total.usage[name] or 0) + n
    else
      total.usage[name] = total.usage[name] or n -- estimated
    end
  end
end

-- `exchange(prompt, options)` asks once. `heard.content` is set when the script was given something of an answer;
-- `tell(event)` tells the script, if it has an on_event.
function K.with_fallback(exchange, sent, heard, tell)
  local given, routes = sent.fallback, {}
  if type(given) ~= "table" or rawlen(given) == 0 then return exchange end
  for i = 1, rawlen(given) do routes[i] = route(rawget(given, i)) end -- as they are now: callbacks may change theirs
  local on, at, tried = kinds(sent.fallback_on), 0, {}
  local function options_of(options, left_s)
    local copy = {}
    for k, v in next, options do copy[k] = v end
    copy.overall_timeout = left_s
    if at > 0 then
      copy.base_url, copy.api_key = nil, nil -- these belong to the first
      copy.provider, copy.model = routes[at][1], routes[at][2]
    end
    return copy
  end
  return function(prompt, options)
    local total, left_s = {}, options.overall_timeout
    heard.content = nil
    while true do
      local result = exchange(prompt, options_of(options, left_s))
      K.add_up(total, result)
      local over = result.ok or heard.content or at >= #routes or not on[result.error_kind]
      if not over and type(left_s) == "number" then
        left_s = options.overall_timeout - (total.latency_ms or 0) / 1000
        over = left_s < 0.001
      end
      if over then
        for name, value in next, total do result[name] = value end
        if not result.ok then result.detail.attempts = total.attempts or 0 end
        if #tried > 0 then result.fallbacks = tried end
        return result
      end
      local detail = result.detail
      local failed = {
        provider = detail.provider or result.provider, model = detail.model,
        error_kind = result.error_kind, error = result.error,
      }
      tried[#tried + 1] = failed
      at = at + 1
      if tell then
        tell({
          type = "fallback", provider = failed.provider, model = failed.model,
          error_kind = failed.error_kind, error = failed.error,
        })
      end
    end
  end
end
