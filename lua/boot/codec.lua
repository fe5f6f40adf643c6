-- The border: Lua values to bytes and back, as MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md).
--
-- Chosen over JSON for the border because it keeps bytes as bytes, integers apart from floats, and is written
-- and read with string.pack. A Lua text that is valid UTF-8 goes as str, any other as bin. Runs inside the
-- script's coroutine, under its limits.

local K = ...
local type, next, rawget, rawequal = K.raw.base.type, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawequal
local setmetatable = K.raw.base.setmetatable
local math_type, huge = K.raw.math.type, K.raw.math.huge
local pack, unpack, byte, sub, char = K.raw.string.pack, K.raw.string.unpack, K.raw.string.byte, K.raw.string.sub, K.raw.string.char
local concat, utf8_len = K.raw.table.concat, K.raw.utf8.len
local values, limits = K.values, K.limits
local NULL, ARRAY, shape, refuse = values.NULL, values.ARRAY, values.shape, values.refuse

local FIX = setmetatable({}, { -- the one-byte heads
  __index = function(t, i)
    t[i] = char(i)
    return t[i]
  end,
})

-- Encoder state; one value is written at a time, and nothing here yields.
local buffer, used, bytes, nodes
local path = { depth = 0 }

local function put(s)
  used = used + 1
  buffer[used] = s
  bytes = bytes + #s
  if bytes > limits.value_bytes then
    refuse("too large: more than " .. limits.value_bytes .. " bytes in one value")
  end
end

local function head_of_text(s, n)
  if utf8_len(s) then
    if n < 32 then return FIX[0xa0 + n] end
    if n < 256 then return pack(">BB", 0xd9, n) end
    if n < 65536 then return pack(">BI2", 0xda, n) end
    return pack(">BI4", 0xdb, n)
  end
  if n < 256 then return pack(">BB", 0xc4, n) end
  if n < 65536 then return pack(">BI2", 0xc5, n) end
  return pack(">BI4", 0xc6, n)
end

local function put_text(s)
  local n = #s
  if bytes + n > limits.value_bytes then
    refuse("too large: more than " .. limits.value_bytes .. " bytes in one value")
  end
  if n < 512 then
    put(head_of_text(s, n) .. s)
  else
    put(head_of_text(s, n))
    put(s)
  end
end

local function put_number(v)
  if math_type(v) == "integer" then
    if v >= 0 then
      if v < 128 then return put(FIX[v]) end
      if v < 65536 then return put(pack(">BI2", 0xcd, v)) end
    elseif v >= -32 then
      return put(FIX[256 + v])
    end
    return put(pack(">Bi8", 0xd3, v))
  end
  if v ~= v or v == huge or v == -huge then
    refuse("a number that is not finite has no JSON form")
  end
  put(pack(">Bd", 0xcb, v))
end

local put_value

local function put_table(t)
  if rawequal(t, NULL) then return put("\xc0") end -- raw: `==` would run a script's __eq in here
  local depth = path.depth + 1
  if depth > limits.depth then
    refuse("nested deeper than " .. limits.depth .. " tables, or a cycle")
  end
  path.depth, path[depth] = depth, nil
  local kind, n = shape(t)
  if kind == "array" then
    if n < 16 then put(FIX[0x90 + n]) elseif n < 65536 then put(pack(">BI2", 0xdc, n)) else put(pack(">BI4", 0xdd, n)) end
    for i = 1, n do
      path[depth] = i
      put_value(rawget(t, i))
    end
  else
    used = used + 1
    local slot = used
    n = 0
    for k, v in next, t do
      path[depth] = k
      if type(k) ~= "string" then
        refuse("a table with both named keys and keys of type " .. type(k) .. " has no JSON form")
      end
      nodes = nodes + 1
      put_text(k)
      put_value(v)
      n = n + 1
    end
    buffer[slot] = n < 16 and FIX[0x80 + n] or n < 65536 and pack(">BI2", 0xde, n) or pack(">BI4", 0xdf, n)
  end
  path.depth = depth - 1
end

function put_value(v)
  nodes = nodes + 1
  if nodes > limits.sent_nodes then
    refuse("too large: more than " .. limits.sent_nodes .. " items in one value")
  end
  local ty = type(v)
  if ty == "string" then
    put_text(v)
  elseif ty == "number" then
    put_number(v)
  elseif ty == "table" then
    put_table(v)
  elseif ty == "boolean" then
    put(v and "\xc3" or "\xc2")
  elseif ty == "nil" then
    put("\xc0")
  else
    refuse("a " .. ty .. " cannot be sent")
  end
end

local function encode(v)
  put_value(v)
  return concat(buffer, "", 1, used)
end

-- bytes | nil, message, path
function K.encode(v)
  local ty = type(v)
  if ty == "nil" then return "\xc0" end
  buffer, used, bytes, nodes, path.depth = {}, 0, 0, 0, 0
  local result, message, where = values.guarded(encode, v, path)
  buffer = nil
  return result, message, where
end

-- Decoder. What comes here was written by the host: it is trusted to be well formed, not to be small.

local read

local function read_array(s, p, n)
  local t = {}
  for i = 1, n do t[i], p = read(s, p) end
  return setmetatable(t, ARRAY), p
end

local function read_map(s, p, n)
  local t = {}
  for _ = 1, n do
    local k, v
    k, p = read(s, p)
    v, p = read(s, p)
    t[k] = v
  end
  return t, p
end

local function read_bytes(s, p, n) return sub(s, p, p + n - 1), p + n end

-- Heads: the format of a number, or of how many bytes, items or pairs follow.
local NUMBER = {
  [0xca] = ">f", [0xcb] = ">d", [0xcc] = "B", [0xcd] = ">I2", [0xce] = ">I4",
  [0xd0] = ">i1", [0xd1] = ">i2", [0xd2] = ">i4", [0xd3] = ">i8",
}
local COUNT = {
  [0xc4] = "B", [0xc5] = ">I2", [0xc6] = ">I4", [0xd9] = "B", [0xda] = ">I2", [0xdb] = ">I4",
  [0xdc] = ">I2", [0xdd] = ">I4", [0xde] = ">I2", [0xdf] = ">I4",
}

local function read_headed(s, p, b)
  local format = COUNT[b]
  if format then
    local n, q = unpack(format, s, p)
    if b < 0xdc then return read_bytes(s, q, n) end
    if b < 0xde then return read_array(s, q, n) end
    return read_map(s, q, n)
  end
  format = NUMBER[b]
  if format then return unpack(format, s, p) end
  if b == 0xc0 then return NULL, p end
  if b < 0xc4 then return b == 0xc3, p end
  local v, q = unpack(">i8", s, p) -- unsigned
  return v >= 0 and v or (v >> 1 | v & 1) * 2.0, q -- beyond Lua's integers: the nearest float
end

function read(s, p)
  local b = byte(s, p)
  p = p + 1
  if b < 0x80 then return b, p end
  if b >= 0xe0 then return b - 256, p end
  if b >= 0xc0 then return read_headed(s, p, b) end
  if b >= 0xa0 then return read_bytes(s, p, b - 0xa0) end
  if b >= 0x90 then return read_array(s, p, b - 0x90) end
  return read_map(s, p, b - 0x80)
end

-- value; JSON's null alone is nil, inside a table it is orcs.null
function K.decode(s, position)
  local v = read(s, position or 1)
  if rawequal(v, NULL) then return nil end
  return v
end
