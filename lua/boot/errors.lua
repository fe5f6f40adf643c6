-- Errors on their way out: what a script raised, as a short text with the line and a traceback of its own frames.
--
-- Runs in the script's coroutine, as its message handler, so that a __tostring of the script is paid by the script.

local K = ...
local base, kill = K.raw.base, K.kill
local type, rawget, rawequal = base.type, base.rawget, base.rawequal
local sub, find, gmatch, gsub = K.raw.string.sub, K.raw.string.find, K.raw.string.gmatch, K.raw.string.gsub
local concat, traceback, getinfo = K.raw.table.concat, K.raw.debug.traceback, K.raw.debug.getinfo

local ERROR_BYTES = 2000     -- of an error's text, and of its traceback twice that
local KIND_BYTES = 64
local DEEP, SHOWN_FRAMES = 2000, 10

local function short(s, n)
  n = n or ERROR_BYTES
  if #s <= n then return s end
  return sub(s, 1, n) .. " …"
end

-- The innermost frames of a deep stack. Lua's own traceback also has the outermost, and walks to them some thirty times: a
-- second of C in which no hook runs, for the most ordinary of accidents.
local function deep_traceback(message)
  local lines, n, level = { message, "stack traceback:" }, 2, 3
  while n < 2 + SHOWN_FRAMES do
    local info = getinfo(level, "nSl")
    if not info then break end
    if info.currentline > 0 then
      n = n + 1
      lines[n] = "\t" .. info.short_src .. ":" .. info.currentline .. ": in "
        .. (info.name and info.namewhat .. " '" .. info.name .. "'" or "function <" .. info.short_src .. ":" .. info.linedefined .. ">")
    end
    level = level + 1
  end
  lines[n + 1] = "\t..."
  return concat(lines, "\n")
end

-- Lua's traceback without our own frames, which are stripped and so have no name and no line.
local function script_traceback(message)
  if getinfo(DEEP, "l") then return deep_traceback(message) end
  local lines, n = {}, 0
  for line in gmatch(traceback(message, 2), "[^\n]+") do
    if not find(line, "^\t%?:") and not find(line, "^\t%[C%]: in .*%?") and not find(line, "^\t%[C%]: in %a+ 'error'")
      and not find(line, "^\t%(%.%.%.tail calls%.%.%.%)") then
      n = n + 1
      lines[n] = line
    end
  end
  return concat(lines, "\n")
end

local function text_of_error(e)
  local ty = type(e)
  if ty == "string" then return e end
  if ty == "table" then
    local message = rawget(e, "error") or rawget(e, "message")
    if type(message) == "string" then return message end
    local ok, s = K.pcall(K.tostring, e)
    if ok and type(s) == "string" and not find(s, "^[^:]*: 0x") then return s end
    return "the script raised a table that has no text"
  end
  return "the script raised a " .. ty .. " value: " .. K.tostring(e)
end

K.short, K.text_of_error = short, text_of_error

-- The message handler of tasks and strands. An error that a strand raised, and that its parent lets pass, is
-- reported with the strand's own line and traceback.
function K.failure_of(e)
  if kill.reason() or e == "not enough memory" then return e end
  e = K.explain(e, nil, 1)
  local came = K.strands.came()
  if came and came.message and rawequal(came.value, e) then return came end
  local where = kill.script_position(3)
  -- What Lua raises inside a library function of ours is put down to the line that called it.
  local message = short((gsub(text_of_error(e), "^%?:%-1:", function() return where .. ":" end, 1)))
  local error_kind = type(e) == "table" and rawget(e, "error_kind")
  return {
    value = e,
    message = message,
    where = where,
    traceback = short(script_traceback(message), 2 * ERROR_BYTES),
    error_kind = type(error_kind) == "string" and short(error_kind, KIND_BYTES) or "",
  }
end
