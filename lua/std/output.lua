-- What a script says: print, orcs.output, orcs.log. One way out, no answer, capped by the output limit.
--
-- orcs.output writes a line; inside on_delta it writes the piece as it is, so that a streamed text stays one
-- text. What is over the limit is dropped and counted, and the script goes on.

local K = ...
local type, error, pack = K.raw.base.type, K.raw.base.error, K.raw.table.pack
local sub, concat, setmetatable = K.raw.string.sub, K.raw.table.concat, K.raw.base.setmetatable
local running = K.raw.coroutine.running
local post, limits, G, orcs = K.post, K.limits, K.globals, K.orcs

local written, dropped = 0, 0  -- of the VM's life, in bytes
local room = 0                 -- what this activation may still write
local midline = false          -- a streamed piece left the line open
local LEVELS = { trace = true, debug = true, info = true, warn = true, error = true }

K.streaming = setmetatable({}, { __mode = "k" }) -- coroutines that are inside on_delta

function K.output_bytes() return written end
function K.output_dropped() return dropped end
function K.fresh_output() room = limits.output_bytes end

local function put(kind, text)
  if #text > room or room <= 0 then -- an empty text takes no room, and is nothing to flood the host with
    dropped = dropped + #text - room
    if room <= 0 then return end
    text = sub(text, 1, room)
  end
  written, room = written + #text, room - (#text > 0 and #text or 1)
  post(kind, text)
end

local function put_line(kind, text)
  if midline then
    midline = false
    text = "\n" .. text
  end
  put(kind, text .. "\n")
end

function G.print(...)
  local parts = pack(...)
  local n = parts.n
  for i = 1, n do parts[i] = K.tostring(parts[i]) end
  put_line("print", concat(parts, "\t", 1, n))
end

local function text_argument(v, n, name)
  if type(v) == "number" then return K.tostring(v) end
  if type(v) ~= "string" then
    error("bad argument #" .. n .. " to '" .. name .. "' (string expected, got " .. (v == nil and "no value" or type(v)) .. ")", 3)
  end
  return v
end

function orcs.output(text)
  text = text_argument(text, 1, "output")
  if not K.streaming[running()] then return put_line("output", text) end
  if text ~= "" then
    midline = sub(text, -1) ~= "\n"
    put("output", text)
  end
end

function orcs.log(level, text)
  level = text_argument(level, 1, "log")
  text = text_argument(text, 2, "log")
  if not LEVELS[level] then level = "info" end
  put("log." .. level, text)
end
