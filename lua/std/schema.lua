-- A value against a JSON Schema (https://json-schema.org/draft/2020-12, the part that models are given): the
-- arguments of a tool, an answer to response_schema.
--
-- Checked: type (one or a list), nullable, enum, const; minimum, maximum, exclusiveMinimum, exclusiveMaximum,
-- multipleOf; minLength, maxLength; required, properties, additionalProperties, minProperties, maxProperties; items,
-- prefixItems, minItems, maxItems, uniqueItems; anyOf, oneOf, allOf, not; $ref to a place in the same schema.
-- Not checked, as if it was not there: pattern and format (their regular expressions can run for ever), $ref to
-- another document, patternProperties, if/then/else, contains and what else a schema may say.
--
-- Runs in the script's coroutine under its limits, in at most STEPS steps. Knows no tool and no model.

local K = ...
local base = K.raw.base
local type, next, rawget, rawlen, rawequal = base.type, base.next, base.rawget, base.rawlen, base.rawequal
local getmetatable, tonumber = base.getmetatable, base.tonumber
local math_type, floor, huge = K.raw.math.type, K.raw.math.floor, K.raw.math.huge
local concat, format, sub, gsub, find = K.raw.table.concat, K.raw.string.format, K.raw.string.sub, K.raw.string.gsub, K.raw.string.find
local gmatch, utf8_len = K.raw.string.gmatch, K.raw.utf8.len
local NULL, ARRAY = K.values.NULL, K.values.ARRAY

local STEPS = 100000 -- of one check: a schema may be nested so that it doubles at each level
local DEPTH = 150    -- schemas within schemas without end: a $ref to itself
local SHOWN = 40     -- bytes of a text in a message

local left, root

-- ── words of a message ──────────────────────────────────────────────────────────────────────────────────

local function kind_of(v)
  if v == nil or rawequal(v, NULL) then return "null" end
  if type(v) ~= "table" then return type(v) end
  local key = next(v)
  if key == nil then return rawequal(getmetatable(v), ARRAY) and "array" or "object" end
  return type(key) == "string" and "object" or "array"
end

local function short(text)
  return (gsub(#text > SHOWN and sub(text, 1, SHOWN) .. "…" or text, "[%c:]", "?"))
end

local function shown(v)
  local kind = kind_of(v)
  if kind == "string" then return '"' .. short(v) .. '"' end
  if kind == "number" then return format(math_type(v) == "integer" and "%d" or "%.14g", v) end
  if kind == "boolean" then return v and "true" or "false" end
  return kind
end

local function got(v)
  local kind = kind_of(v)
  if kind == "string" or kind == "number" then return kind .. " " .. shown(v) end
  return shown(v)
end

local function below(at, name)
  if #name <= SHOWN and find(name, "^[%a_][%w_]*$") then return at .. "." .. name end
  return at .. '["' .. short(name) .. '"]'
end

-- A misfit: where, and what is wrong there.
local function wrong(at, ...)
  return { at, format(...) }
end

-- ── one value ───────────────────────────────────────────────────────────────────────────────────────────

local function whole(v) return math_type(v) == "integer" or (type(v) == "number" and v == floor(v) and v ~= huge and v ~= -huge) end

local IS = {
  string = function(_, kind) return kind == "string" end,
  boolean = function(_, kind) return kind == "boolean" end,
  number = function(_, kind) return kind == "number" end,
  integer = whole,
  null = function(_, kind) return kind == "null" end,
  object = function(_, kind) return kind == "object" end,
  array = function(_, kind) return kind == "array" end,
}

-- Equal as JSON values are. Where `b` was written in Lua, {} stands for a list as well as for an object.
local function equal(a, b, in_lua)
  left = left - 1
  if rawequal(a, b) then return true end
  if type(a) == "number" and type(b) == "number" then return a == b end
  if type(a) ~= "table" or type(b) ~= "table" or left < 0 or rawequal(a, NULL) or rawequal(b, NULL) then return false end
  if kind_of(a) ~= kind_of(b) and not (in_lua and next(b) == nil) then return false end
  for k, v in next, a do
    local other = rawget(b, k)
    if other == nil or not equal(v, other, in_lua) then return false end
  end
  for k in next, b do
    if rawget(a, k) == nil then return false end
  end
  return true
end

local function check_type(v, schema, at)
  local wanted = rawget(schema, "type")
  local kind = kind_of(v)
  if wanted == nil or (kind == "null" and rawget(schema, "nullable") == true) then return end
  local names = type(wanted) == "table" and wanted or { wanted }
  local n = rawlen(names)
  for i = 1, n do
    local is = IS[rawget(names, i)]
    if not is or is(v, kind) then return end -- a type nobody knows: nothing to hold against the value
  end
  if n > 0 then return wrong(at, "%s expected, got %s", concat(names, " or ", 1, n), got(v)) end
end

local function check_values(v, schema, at)
  local const, enum = rawget(schema, "const"), rawget(schema, "enum")
  if const ~= nil and not equal(v, const, true) then return wrong(at, "%s expected, got %s", shown(const), got(v)) end
  if type(enum) ~= "table" then return end
  local words, n = {}, rawlen(enum)
  for i = 1, n do
    if equal(v, rawget(enum, i), true) then return end
    if i <= 10 then words[i] = shown(rawget(enum, i)) end
  end
  return wrong(at, "one of %s%s expected, got %s", concat(words, ", "), n > 10 and ", …" or "", got(v))
end

-- A limit of the schema, if it is a number.
local function limit(schema, name)
  local n = rawget(schema, name)
  if type(n) == "number" then return n end
end

local function check_number(v, schema, at)
  local low, high, above, under = limit(schema, "minimum"), limit(schema, "maximum"), limit(schema, "exclusiveMinimum"), limit(schema, "exclusiveMaximum")
  if low and v < low then return wrong(at, "at least %s expected, got %s", shown(low), shown(v)) end
  if high and v > high then return wrong(at, "at most %s expected, got %s", shown(high), shown(v)) end
  if above and v <= above then return wrong(at, "more than %s expected, got %s", shown(above), shown(v)) end
  if under and v >= under then return wrong(at, "less than %s expected, got %s", shown(under), shown(v)) end
  local step = limit(schema, "multipleOf")
  if step and step > 0 then
    local times = v / step
    local off = times - floor(times + 0.5)
    if off > 1e-9 or off < -1e-9 then return wrong(at, "a multiple of %s expected, got %s", shown(step), shown(v)) end
  end
end

-- How many there are of something, against two limits.
local function check_count(n, schema, least, most, what, at)
  local low, high = limit(schema, least), limit(schema, most)
  if low and n < low then return wrong(at, "at least %s %s expected, got %d", shown(low), what, n) end
  if high and n > high then return wrong(at, "at most %s %s expected, got %d", shown(high), what, n) end
end

-- ── lists and objects ───────────────────────────────────────────────────────────────────────────────────

local check

local function too_long(at) return wrong(at, "the schema takes too long to check: more than %d steps", STEPS) end

local function check_unique(v, at)
  local seen, tables = {}, {}
  for i = 1, rawlen(v) do
    if left < 0 then return too_long(at) end
    local item = rawget(v, i)
    if type(item) == "table" and not rawequal(item, NULL) then
      for j = 1, #tables do
        if equal(item, tables[j]) then return wrong(at, "items that differ expected, item %d is there twice", i) end
      end
      tables[#tables + 1] = item
    elseif item ~= nil and item == item then
      if seen[item] then return wrong(at, "items that differ expected, %s is there twice", shown(item)) end
      seen[item] = true
    end
  end
end

local function check_list(v, schema, at, depth)
  local n = rawlen(v)
  local problem = check_count(n, schema, "minItems", "maxItems", "items", at)
  if problem then return problem end
  local first, rest = rawget(schema, "prefixItems"), rawget(schema, "items")
  local prefix = type(first) == "table" and rawlen(first) or 0
  for i = 1, n do
    local wanted = rest
    if i <= prefix then wanted = rawget(first, i) end
    if wanted ~= nil then
      problem = check(rawget(v, i), wanted, at .. "[" .. i .. "]", depth)
      if problem then return problem end
    end
  end
  if rawget(schema, "uniqueItems") == true then return check_unique(v, at) end
end

local function check_object(v, schema, at, depth)
  local required, properties = rawget(schema, "required"), rawget(schema, "properties")
  if type(required) == "table" then
    for i = 1, rawlen(required) do
      local name = rawget(required, i)
      if type(name) == "string" and rawget(v, name) == nil then return wrong(below(at, name), "is required") end
    end
  end
  if type(properties) ~= "table" then properties = {} end
  local others = rawget(schema, "additionalProperties")
  if rawget(schema, "patternProperties") ~= nil then others = nil end
  local n, worst = 0, nil
  for name, each in next, v do
    if type(name) ~= "string" then return wrong(at, "an object or an array expected, got a mixture") end
    n = n + 1
    local problem
    local wanted = rawget(properties, name)
    if wanted == nil and others == false then
      problem = wrong(below(at, name), "no such name")
    elseif wanted ~= nil or others ~= nil then
      if wanted == nil then wanted = others end
      problem = check(each, wanted, below(at, name), depth)
    end
    -- `next` goes in no order of its own: the first by name is told, so that the same value always gets the same words.
    if problem and (not worst or problem[1] < worst[1]) then worst = problem end
  end
  return worst or check_count(n, schema, "minProperties", "maxProperties", "names", at)
end

-- ── schemas within schemas ──────────────────────────────────────────────────────────────────────────────

-- What "#/$defs/name" points to; nil when it is not there.
local function pointed_to(ref)
  if ref == "#" then return root end
  local at = root
  for step in gmatch(sub(ref, 2, 500), "/([^/]*)") do
    if type(at) ~= "table" then return nil end
    local name = gsub(gsub(step, "~1", "/"), "~0", "~")
    local found = rawget(at, name)
    if found == nil and find(name, "^%d+$") then found = rawget(at, (tonumber(name) or -1) + 1) end
    at = found
  end
  return at
end

local function check_ref(v, schema, at, depth)
  local ref = rawget(schema, "$ref")
  if type(ref) ~= "string" or sub(ref, 1, 1) ~= "#" then return end
  local target = pointed_to(ref)
  if target == nil then return wrong(at, "the schema refers to %s, which it does not have", short(ref)) end
  return check(v, target, at, depth)
end

-- How many of these schemas fit, and what is wrong for the first that does not.
local function fitting(v, schemas, at, depth)
  local n, first = 0, nil
  for i = 1, rawlen(schemas) do
    local problem = check(v, rawget(schemas, i), at, depth)
    if not problem then n = n + 1 else first = first or problem end
  end
  return n, first
end

local function check_several(v, schema, at, depth)
  local all, any, one, no = rawget(schema, "allOf"), rawget(schema, "anyOf"), rawget(schema, "oneOf"), rawget(schema, "not")
  if type(all) == "table" then
    local _, problem = fitting(v, all, at, depth)
    if problem then return problem end
  end
  for _, choice in next, { any, one } do
    if type(choice) == "table" and rawlen(choice) > 0 then
      local n, problem = fitting(v, choice, at, depth)
      if n == 0 then
        if rawlen(choice) == 1 then return problem end
        return wrong(at, "none of the %d alternatives fits %s; the first: %s: %s", rawlen(choice), got(v), problem[1], problem[2])
      end
      if n > 1 and choice == one then return wrong(at, "exactly one of the %d alternatives expected to fit, %d do", rawlen(choice), n) end
    end
  end
  if no ~= nil and not check(v, no, at, depth) then return wrong(at, "what the schema excludes, got %s", got(v)) end
end

function check(v, schema, at, depth)
  left, depth = left - 1, depth + 1
  if left < 0 then return too_long(at) end
  if depth > DEPTH then return wrong(at, "the schema refers to itself without end") end
  if schema == false then return wrong(at, "nothing is allowed here, got %s", got(v)) end
  if type(schema) ~= "table" then return nil end
  local problem = check_ref(v, schema, at, depth) or check_type(v, schema, at) or check_values(v, schema, at)
  if problem then return problem end
  local kind = kind_of(v)
  if kind == "number" then
    problem = check_number(v, schema, at)
  elseif kind == "string" then
    problem = check_count(utf8_len(v) or #v, schema, "minLength", "maxLength", "characters", at)
  elseif kind == "array" then
    problem = check_list(v, schema, at, depth)
  elseif kind == "object" then
    problem = check_object(v, schema, at, depth)
  end
  return problem or check_several(v, schema, at, depth)
end

-- nil when the value fits; else the text "arguments.b: integer expected, got string \"x\"", and its two halves.
-- `name` is what the whole value is called.
function K.misfit(v, schema, name)
  left, root = STEPS, schema
  local problem = check(v, schema, name or "value", 0)
  root = nil
  if problem then return problem[1] .. ": " .. problem[2], problem[1], problem[2] end
end
