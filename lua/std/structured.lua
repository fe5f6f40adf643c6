-- response_schema: the answer is one JSON value that fits the schema, in result.parsed; or the call failed with
-- invalid_response, the text in `content`, and where and why in detail.path and detail.reason.
--
-- Parsed and checked here, under the script's own limits. Servers that ignore a format they do not know like to put
-- their JSON into a Markdown fence: an answer that is one fenced block and nothing else is taken as what is in it,
-- whatever the wire. JSON among prose is not looked for. The turn is in the session either way, so that a script can
-- say what was wrong with it.

local K = ...
local pcall, match = K.pcall, K.raw.string.match
local json_parse, text_of_error = K.json_parse, K.text_of_error

local function value_of(text)
  local ok, value = pcall(json_parse, text)
  if ok then return true, value end
  local inside = match(text, "^%s*```[%w]*[ \t]*\r?\n(.*)\r?\n%s*```%s*$")
  if inside then
    local fenced, again = pcall(json_parse, inside)
    if fenced then return true, again end
  end
  return false, text_of_error(value)
end

local function unfit(result, text, path, reason)
  result.ok, result.error_kind, result.retryable = false, "invalid_response", true
  result.error = "the answer does not fit response_schema: " .. (path ~= "" and path .. ": " or "") .. reason
  result.content = text
  result.detail = {
    path = path, reason = reason, provider = result.provider, model = result.model,
    attempts = result.attempts, billed = "yes", request_id = result.request_id,
  }
  return result
end

-- `one(prompt, options)` is an exchange; so is what comes back. `resolving`: an answer cut off by its length goes on
-- in the next exchange, and is judged when it is whole.
function K.structured(one, schema, resolving)
  local begun = ""
  return function(prompt, options)
    local result = one(prompt, options)
    if not result.ok or result.stop_reason == "cancelled" then return result end
    if result.intents then
      begun = ""
      return result
    end
    local text = begun .. result.content
    if result.stop_reason == "max_tokens" then
      if resolving and result.content ~= "" then
        begun = text
        return result
      end
      return unfit(result, text, "", "the answer was cut off by max_tokens")
    end
    begun = ""
    local ok, value = value_of(text)
    if not ok then return unfit(result, text, "", value) end
    local problem, path, reason = K.misfit(value, schema, "answer")
    if problem then return unfit(result, text, path, reason) end
    result.parsed = value
    return result
  end
end
