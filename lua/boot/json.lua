-- JSON for scripts (RFC 8259): json_parse is strict, json_encode writes object keys in order.
--
-- Sorted keys make the text the same every time, which prompt caches and replays need. Empty tables are
-- objects unless marked with orcs.array; null is orcs.null; numbers that are not finite are refused.

local K = ...
local type, next, rawget, rawequal, error = K.raw.base.type, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawequal, K.raw.base.error
local tonumber, setmetatable = K.raw.base.tonumber, K.raw.base.setmetatable
local math_type, huge, tointeger = K.raw.math.type, K.raw.math.huge, K.raw.math.tointeger
local byte, sub, find, gsub = K.raw.string.byte, K.raw.string.sub, K.raw.string.find, K.raw.string.gsub
local match, format, char = K.raw.string.match, K.raw.string.format, K.raw.string.char
local concat, sort, utf8_char, utf8_len = K.raw.table.concat, K.raw.table.sort, K.raw.utf8.char, K.raw.utf8.len
local values, limits, look = K.values, K.limits, K.look
local NULL, ARRAY, shape, refuse = values.NULL, values.ARRAY, values.shape, values.refuse

local DEPTH = 128              -- of tables in a text, both ways
local LONG_KEYS = 100000       -- bytes of one table's keys
local LONG = 65536             -- bytes of a text that take C long: no hook runs in it

-- ── encode ──────────────────────────────────────────────────────────────────────────────────────────

local ESCAPE = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
for i = 0, 31 do
  local c = char(i)
  ESCAPE[c] = ESCAPE[c] or format("\\u%04x", i)
end
ESCAPE["\127"] = "\\u007f"

local buffer, used, bytes, nodes
local path = { depth = 0 }

local function put(s)
  used = used + 1
  buffer[used] = s
  bytes = bytes + #s
  if bytes > limits.value_bytes then
    refuse("too large: more than " .. limits.value_bytes .. " bytes of JSON")
  end
end

local function quoted(s)
  if bytes + #s > limits.value_bytes then
    refuse("too large: more than " .. limits.value_bytes .. " bytes of JSON")
  end
  if #s > LONG then look() end
  if not utf8_len(s) then refuse("a text that is not valid UTF-8 has no JSON form (invalid_encoding)") end
  if find(s, '[%c"\\]') then s = gsub(s, '[%c"\\]', ESCAPE) end
  return '"' .. s .. '"'
end

local function number(v)
  if math_type(v) == "integer" then return format("%d", v) end
  if v ~= v or v == huge or v == -huge then refuse("a number that is not finite has no JSON form") end
  local s = format("%.15g", v)
  if tonumber(s) ~= v then s = format("%.17g", v) end
  if not find(s, "[.e]") then s = s .. ".0" end -- a float stays a float when it comes back
  return s
end

local put_value

local function put_table(t)
  if rawequal(t, NULL) then return put("null") end
  local depth = path.depth + 1
  if depth > DEPTH then refuse("nested deeper than " .. DEPTH .. " tables, or a cycle") end
  path.depth, path[depth] = depth, nil
  local kind, n = shape(t)
  if kind == "array" then
    put("[")
    for i = 1, n do
      path[depth] = i
      if i > 1 then put(",") end
      put_value(rawget(t, i))
    end
    put("]")
  else
    local keys, total, sort = {}, 0, sort
    n = 0
    for k in next, t do
      path[depth] = k
      if type(k) ~= "string" then
        refuse("a table with both named keys and keys of type " .. type(k) .. " has no JSON form")
      end
      n = n + 1
      keys[n] = k
      total = total + #k
    end
    if total > limits.value_bytes then refuse("too large: more than " .. limits.value_bytes .. " bytes of JSON") end
    if total > LONG_KEYS then sort = K.libs.table.sort end -- C compares long keys without a look at the clock
    sort(keys)
    put("{")
    for i = 1, n do
      local k = keys[i]
      path[depth] = k
      put((i > 1 and "," or "") .. quoted(k) .. ":")
      put_value(rawget(t, k))
    end
    put("}")
  end
  path.depth = depth - 1
end

function put_value(v)
  nodes = nodes + 1
  if nodes > limits.nodes then refuse("too large: more than " .. limits.nodes .. " items in one value") end
  local ty = type(v)
  if ty == "string" then
    put(quoted(v))
  elseif ty == "table" then
    put_table(v)
  elseif ty == "number" then
    put(number(v))
  elseif ty == "boolean" then
    put(v and "true" or "false")
  elseif ty == "nil" then
    put("null")
  else
    refuse("a " .. ty .. " has no JSON form")
  end
end

local function encode(v)
  put_value(v)
  return concat(buffer, "", 1, used)
end

function K.json_encode(v)
  buffer, used, bytes, nodes, path.depth = {}, 0, 0, 0, 0
  local text, message = values.guarded(encode, v, path)
  buffer = nil
  if not text then error("json_encode: " .. message, 2) end
  return text
end

-- ── parse ───────────────────────────────────────────────────────────────────────────────────────────

local UNESCAPE = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function fail(p, message) error({ "json_parse: " .. message .. " at byte " .. p }, 0) end

local function space(s, p)
  local b = byte(s, p)
  if b == 32 or b == 10 or b == 13 or b == 9 then
    return find(s, "[^ \n\r\t]", p) or #s + 1
  end
  return p
end

local function unescaped(s, p)
  local parts, n = {}, 0
  while true do
    local q = find(s, '["\\%c]', p)
    if not q then fail(#s + 1, "a text that does not end") end
    if q > p then
      n = n + 1
      parts[n] = sub(s, p, q - 1)
    end
    local b = byte(s, q)
    if b == 34 then return concat(parts, "", 1, n), q + 1 end
    if b == 127 then
      n = n + 1
      parts[n] = "\127"
      p = q + 1
    elseif b ~= 92 then
      fail(q, "a control character inside a text")
    else
      local e = sub(s, q + 1, q + 1)
      local plain = UNESCAPE[e]
      if plain then
        p = q + 2
      elseif e == "u" then
        local hex = match(s, "^%x%x%x%x", q + 2)
        if not hex then fail(q, "\\u needs four hexadecimal digits") end
        local code = tonumber(hex, 16)
        p = q + 6
        if code >= 0xd800 and code <= 0xdbff then
          local low = match(s, "^\\u(%x%x%x%x)", p)
          low = low and tonumber(low, 16)
          if low and low >= 0xdc00 and low <= 0xdfff then
            code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00)
            p = p + 6
          end
        end
        if code >= 0xd800 and code <= 0xdfff then fail(q, "half of a surrogate pair") end
        plain = utf8_char(code)
      else
        fail(q, "an unknown escape")
      end
      n = n + 1
      parts[n] = plain
    end
  end
end

local function text(s, p)
  local q = find(s, '["\\%c]', p)
  if q and byte(s, q) == 34 then return sub(s, p, q - 1), q + 1 end
  return unescaped(s, p)
end

local function parse_number(s, p)
  local q = p
  local b = byte(s, p)
  if b == 45 then q = p + 1 end
  local _, e = find(s, byte(s, q) == 48 and "^0" or "^[1-9]%d*", q)
  if not e then fail(p, "not a JSON value") end
  local whole = true
  if byte(s, e + 1) == 46 then
    _, e = find(s, "^%d+", e + 2)
    if not e then fail(p, "a number without digits behind its point") end
    whole = false
  end
  b = byte(s, e + 1)
  if b == 101 or b == 69 then
    _, e = find(s, "^[eE][+-]?%d+", e + 1)
    if not e then fail(p, "a number without digits in its exponent") end
    whole = false
  end
  if e - p > 400 then fail(p, "a number of more than 400 digits") end
  local v = tonumber(sub(s, p, e))
  if v == huge or v == -huge then fail(p, "a number too large for a float") end
  return whole and tointeger(v) or v, e + 1
end

local value

local function array(s, p, depth)
  local t, n = setmetatable({}, ARRAY), 0
  p = space(s, p)
  if byte(s, p) == 93 then return t, p + 1 end
  while true do
    n = n + 1
    t[n], p = value(s, p, depth)
    p = space(s, p)
    local b = byte(s, p)
    if b == 93 then return t, p + 1 end
    if b ~= 44 then fail(p, "',' or ']' expected") end
    p = space(s, p + 1)
  end
end

local function object(s, p, depth)
  local t = {}
  p = space(s, p)
  if byte(s, p) == 125 then return t, p + 1 end
  while true do
    if byte(s, p) ~= 34 then fail(p, "a key in quotes expected") end
    local k
    k, p = text(s, p + 1)
    p = space(s, p)
    if byte(s, p) ~= 58 then fail(p, "':' expected") end
    t[k], p = value(s, space(s, p + 1), depth)
    p = space(s, p)
    local b = byte(s, p)
    if b == 125 then return t, p + 1 end
    if b ~= 44 then fail(p, "',' or '}' expected") end
    p = space(s, p + 1)
  end
end

function value(s, p, depth)
  local b = byte(s, p)
  if b == 34 then return text(s, p + 1) end
  if b == 123 or b == 91 then
    if depth >= DEPTH then fail(p, "nested deeper than " .. DEPTH) end
    return (b == 123 and object or array)(s, p + 1, depth + 1)
  end
  if b == 116 and sub(s, p, p + 3) == "true" then return true, p + 4 end
  if b == 102 and sub(s, p, p + 4) == "false" then return false, p + 5 end
  if b == 110 and sub(s, p, p + 3) == "null" then return NULL, p + 4 end
  if b == nil then fail(p, "the text ends where a value should stand") end
  return parse_number(s, p)
end

local function parse(s)
  local v, p = value(s, space(s, 1), 0)
  p = space(s, p)
  if p <= #s then fail(p, "something after the value") end
  return v
end

function K.json_parse(s)
  if type(s) ~= "string" then
    error("bad argument #1 to 'json_parse' (string expected, got " .. (s == nil and "no value" or type(s)) .. ")", 2)
  end
  if #s > limits.value_bytes then error("json_parse: too large: more than " .. limits.value_bytes .. " bytes", 2) end
  if #s > LONG then look() end
  if not utf8_len(s) then error("json_parse: not valid UTF-8 (invalid_encoding)", 2) end
  local ok, v = K.pcall(parse, s)
  if ok then return v end
  error(type(v) == "table" and v[1] or v, 2)
end

K.orcs.json_parse, K.orcs.json_encode = K.json_parse, K.json_encode
