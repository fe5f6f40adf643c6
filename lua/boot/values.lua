-- Values that JSON has and Lua has not, and the errors of both codecs.
--
-- orcs.null stands for JSON's null inside a list or an object; orcs.array(t) says that t is a list even when
-- it is empty. Both codecs (msgpack at the border, JSON for scripts) refuse the same things with the same
-- words: functions, cycles, mixed keys, numbers that are none, anything too deep or too large.

local K = ...
local type, next, rawlen, rawequal = K.raw.base.type, K.raw.base.next, K.raw.base.rawlen, K.raw.base.rawequal
local getmetatable, setmetatable = K.raw.base.getmetatable, K.raw.base.setmetatable
local error, pcall = K.raw.base.error, K.raw.base.pcall
local math_type, concat, sub, gsub = K.raw.math.type, K.raw.table.concat, K.raw.string.sub, K.raw.string.gsub

local ARRAY = { __name = "array" }
local NULL = setmetatable({}, {
  __name = "null",
  __tostring = function() return "null" end,
  __newindex = function() error("orcs.null cannot be changed", 2) end,
  __metatable = "null",
})

local values = { NULL = NULL, ARRAY = ARRAY }
K.values = values

local REFUSED = {} -- the error value while an encoder gives up
local refusal

local function refuse(message)
  refusal = message
  error(REFUSED, 0)
end
values.refuse = refuse

function values.array(t)
  if t == nil then t = {} end
  if type(t) ~= "table" then
    error("bad argument #1 to 'array' (table expected, got " .. type(t) .. ")", 2)
  end
  if getmetatable(t) == nil then setmetatable(t, ARRAY) end
  return t
end

-- "array", its length | "object" | error. Raw access only: no metamethod of the script runs here.
function values.shape(t)
  local n = rawlen(t)
  local k = next(t)
  if k == nil then
    if rawequal(getmetatable(t), ARRAY) then return "array", 0 end
    return "object"
  end
  if n == 0 or type(k) == "string" then
    if n == 0 and type(k) == "string" then return "object" end
    if n > 0 then refuse("a table with both list items and named keys has no JSON form; split it in two") end
    refuse("a table key of type " .. type(k) .. " has no JSON form; keys are texts, or 1, 2, 3 … without a gap")
  end
  local count = 0
  for key in next, t do
    count = count + 1
    if math_type(key) ~= "integer" or key < 1 or key > n then
      if type(key) == "string" then
        refuse("a table with both list items and named keys has no JSON form; split it in two")
      end
      refuse("a list with a gap, or with a key of type " .. type(key) .. ", has no JSON form")
    end
  end
  if count ~= n then refuse("a list with a gap has no JSON form") end
  return "array", n
end

-- A key as it is shown in a path: short, printable, and no address.
local function shown(key)
  if math_type(key) == "integer" then return "[" .. key .. "]" end
  if type(key) ~= "string" then return "[a " .. type(key) .. "]" end
  return "." .. gsub(sub(key, 1, 40), "%c", "?")
end

-- Runs encode(value) and turns a refusal into (nil, message, path); every other error goes on. `path` is
-- kept by the encoder: path[depth] is the key being written at that depth.
function values.guarded(encode, value, path)
  local ok, result = K.kill.pass(pcall(encode, value))
  if ok then return result end
  if not rawequal(result, REFUSED) then error(result, 0) end
  local at = {}
  for i = 1, path.depth do
    if path[i] == nil then break end
    if i > 8 then
      at[i] = " …"
      break
    end
    at[i] = shown(path[i])
  end
  local where = concat(at)
  if sub(where, 1, 1) == "." then where = sub(where, 2) end
  return nil, (where ~= "" and where .. ": " or "") .. refusal, where
end
