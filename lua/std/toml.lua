-- orcs.toml_encode: a table as TOML 1.0 text. Values first, then tables, each by name, so the text is the same each time.
--
-- What TOML has no form for (nothing, null, functions, numbers that are not finite, bytes that are not UTF-8) is
-- refused; so is a table with both names and places. Reading is the host's (std/documents.lua).

local K = ...
local type, error, next, rawget, rawequal = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawequal
local rawlen, getmetatable, tostring = K.raw.base.rawlen, K.raw.base.getmetatable, K.raw.base.tostring
local math_type, huge, format = K.raw.math.type, K.raw.math.huge, K.raw.string.format
local find, gsub, byte, sub = K.raw.string.find, K.raw.string.gsub, K.raw.string.byte, K.raw.string.sub
local concat, utf8_len = K.raw.table.concat, K.raw.utf8.len
local sort = K.libs.table.sort
local NULL, ARRAY = K.values.NULL, K.values.ARRAY

local DEPTH = 64
local LONG = 65536 -- bytes that take C long

local function refuse(what) error("orcs.toml_encode: " .. what, 0) end

local function escape(c)
  if c == '"' or c == "\\" then return "\\" .. c end
  if c == "\n" then return "\\n" end
  return format("\\u%04x", byte(c))
end

local function quoted(s)
  local pieces = { '"' }
  if #s > LONG then K.look() end
  if not utf8_len(s) then refuse("a text that is not valid UTF-8 has no TOML form") end
  for at = 1, #s, LONG do
    if at > 1 then K.look() end
    pieces[#pieces + 1] = gsub(sub(s, at, at + LONG - 1), '[%c"\\\127]', escape)
  end
  pieces[#pieces + 1] = '"'
  return concat(pieces)
end

local function key(k) return find(k, "^[%w_-]+$") and k or quoted(k) end

local function number(v)
  if math_type(v) == "integer" then return format("%d", v) end
  if v ~= v or v == huge or v == -huge then refuse("a number that is not finite") end
  local s = format("%.17g", v)
  return find(s, "[.e]") and s or s .. ".0"
end

-- How many items a list has; nil for a table of names.
local function size_of(t)
  if rawequal(t, NULL) then refuse("null has no TOML form; leave the name out") end
  local n = rawlen(t)
  if n == 0 then return rawequal(getmetatable(t), ARRAY) and next(t) == nil and 0 or nil end
  local count = 0
  for k in next, t do
    count = count + 1
    if math_type(k) ~= "integer" or k < 1 or k > n then refuse("a table with both names and places has no TOML form") end
  end
  if count ~= n then refuse("a list with a gap has no TOML form") end
  return n
end

local function names_of(t)
  local names = {}
  for k in next, t do
    if type(k) ~= "string" then refuse("a table with both names and places has no TOML form") end
    names[#names + 1] = k
  end
  sort(names)
  return names
end

local inline

local function listed(t, n, depth)
  local parts = {}
  for i = 1, n do parts[i] = inline(rawget(t, i), depth + 1) end
  return "[" .. concat(parts, ", ") .. "]"
end

function inline(v, depth)
  if depth > DEPTH then refuse("nested deeper than " .. DEPTH .. " tables, or a cycle") end
  local ty = type(v)
  if ty == "string" then return quoted(v) end
  if ty == "number" then return number(v) end
  if ty == "boolean" then return tostring(v) end
  if ty ~= "table" then refuse("a " .. ty .. " has no TOML form") end
  local n = size_of(v)
  if n then return listed(v, n, depth) end
  local parts = {}
  for _, k in next, names_of(v) do parts[#parts + 1] = key(k) .. " = " .. inline(rawget(v, k), depth + 1) end
  return "{" .. concat(parts, ", ") .. "}"
end

-- Whether a list is one of tables with names, which [[name]] is the form of.
local function is_of_tables(t, n)
  for i = 1, n do
    local v = rawget(t, i)
    if type(v) ~= "table" or size_of(v) then return false end
  end
  return n > 0
end

local function section(lines, t, path, depth)
  if depth > DEPTH then refuse("nested deeper than " .. DEPTH .. " tables, or a cycle") end
  local later = {}
  for _, k in next, names_of(t) do
    local v = rawget(t, k)
    local n = type(v) == "table" and size_of(v) or nil
    if type(v) == "table" and (not n or is_of_tables(v, n)) then
      later[#later + 1] = { k, v, n }
    else
      lines[#lines + 1] = key(k) .. " = " .. inline(v, depth + 1)
    end
  end
  for i = 1, #later do
    local k, v, n = later[i][1], later[i][2], later[i][3]
    local below = path .. (path ~= "" and "." or "") .. key(k)
    for j = 1, n or 1 do
      lines[#lines + 1] = (n and "\n[[" or "\n[") .. below .. (n and "]]" or "]")
      section(lines, n and rawget(v, j) or v, below, depth + 1)
    end
  end
end

function K.orcs.toml_encode(value)
  K.expect(value, "table", 1, "toml_encode")
  local ok, why = K.pcall(function()
    local lines = {}
    if size_of(value) then refuse("a table with names expected, got a list") end
    section(lines, value, "", 1)
    return concat(lines, "\n") .. (#lines > 0 and "\n" or "")
  end)
  if not ok then error(why, 2) end
  return why
end
