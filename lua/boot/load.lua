-- load: text to a function, never bytecode, and not so much of it that the parser takes long.
--
-- The parser is quadratic in some words, and no hook runs in it.

local K = ...
local base, string = K.raw.base, K.raw.string
local type, next, select, error, pcall, tostring = base.type, base.next, base.select, base.error, base.pcall, base.tostring
local raw_load, concat, look, G = base.load, K.raw.table.concat, K.look, K.globals
local sub, gsub, find, match = string.sub, string.gsub, string.find, string.match

local LOAD_BYTES = 64 * 1024 -- what load() compiles at most
local LOAD_JUMPS = 5000      -- and, or, elseif, goto, break, :: in it: a script may call it in a loop, 50 ms each

local function expect(v, wanted, n)
  if type(v) ~= wanted then
    error("bad argument #" .. n .. " to 'load' (" .. wanted .. " expected, got " .. type(v) .. ")", 3)
  end
end

-- As Lua shows it: `=name` and `@name` as they are, a text as [string "its first line..."]; nothing unprintable.
local function chunk_name(name)
  local kind = sub(name, 1, 1)
  if kind == "=" or kind == "@" then
    if kind == "@" and #name > 80 then name = "@" .. sub(name, -79) end -- of a long one Lua shows the end
    return (gsub(sub(name, 1, 80), "%c", "?"))
  end
  local head = match(sub(name, 1, 80), "^[^\n]*")
  return gsub(head, "%c", "?") .. (#head < #name and "\n" or "")
end

-- Whether the text has more than `max` of the words that make the parser quadratic.
function K.has_jumps(text, max)
  local _, jumps = gsub(text, "::", "")
  for _, word in next, { "and", "or", "elseif", "goto", "break" } do
    local _, n = gsub(text, "%f[%w_]" .. word .. "%f[^%w_]", "")
    jumps = jumps + n
  end
  return jumps > max
end

local function collect(reader)
  local parts, n, total = {}, 0, 0
  while true do
    local ok, piece = K.pcall(reader)
    if not ok then return nil, piece end
    if piece == nil or piece == "" then return concat(parts, "", 1, n) end
    if type(piece) ~= "string" then return nil, "reader function must return a string" end
    n, total = n + 1, total + #piece
    if total > LOAD_BYTES or n > LOAD_BYTES then return nil, "chunk too large: load takes " .. LOAD_BYTES .. " bytes" end
    parts[n] = piece
  end
end

function K.load(chunk, name, mode, ...)
  if type(chunk) == "number" then chunk = tostring(chunk) end
  local text = chunk
  if type(chunk) == "function" then
    local message
    text, message = collect(chunk)
    if not text then return nil, message end
  elseif type(chunk) ~= "string" then
    error("bad argument #1 to 'load' (function expected, got " .. (chunk == nil and "no value" or type(chunk)) .. ")", 2)
  end
  if #text > LOAD_BYTES then return nil, "chunk too large: load takes " .. LOAD_BYTES .. " bytes" end
  if name == nil then
    name = type(chunk) == "string" and text or "=(load)"
  elseif type(name) == "number" then
    name = tostring(name)
  else
    expect(name, "string", 2)
  end
  if mode ~= nil then expect(mode, "string", 3, "load") end
  if mode ~= nil and not find(mode, "t", 1, true) then
    return nil, "attempt to load a text chunk (mode is '" .. mode .. "')"
  end
  local env = G
  if select("#", ...) > 0 then env = (...) end
  if #text > 4096 then
    if #text > 4 * LOAD_JUMPS and K.has_jumps(text, LOAD_JUMPS) then
      return nil, "chunk too large: load takes " .. LOAD_JUMPS .. " and/or/elseif/goto/break"
    end
    look() -- no hook runs in the parser
  end
  -- Under pcall, which has no message handler: too deep a nesting is raised inside, and one would change the message.
  local _, f, message = pcall(raw_load, text, chunk_name(name), "t", env)
  if f then return f end
  return nil, message
end
