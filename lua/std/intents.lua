-- Intents, the upstream's word for tools by name: orcs.register_intent, intent_defs, tool_schemas, tool_descriptions, dispatch.
--
-- There are eight that are orcs' own functions, and those a script registers, which ask a component below it. An intent is
-- no right: whoever dispatches it, script or model, it is judged like the call it is. A model is offered those the
-- script registered when it says resolve=true and names no tools, and all of them with tools=true.

local K = ...
local type, next, rawget, tostring = K.raw.base.type, K.raw.base.next, K.raw.base.rawget, K.tostring
local find, format, concat = K.raw.string.find, K.raw.string.format, K.raw.table.concat
local sort = K.libs.table.sort
local expect, invalid, orcs = K.expect, K.invalid, K.orcs

local MAX_INTENTS = 100
local TYPES = { string = true, number = true, integer = true, boolean = true, object = true, array = true }

-- ── orcs' own ─────────────────────────────────────────────────────────────────────────────────────────────

local function own(name, description, args, call)
  local params = {}
  for i = 1, #args do
    params[i] = { name = args[i][1], type = "string", description = args[i][2], required = not args[i].optional }
  end
  return { name = name, description = description, params = params, call = call, own = true }
end

local PATH = { "path", "a path beneath the granted directories" }
local OWN = {
  own("read", "Reads a file", { PATH }, function(a) return orcs.read(a.path) end),
  own("write", "Writes a file", { PATH, { "content", "the whole new content" } }, function(a) return orcs.write(a.path, a.content) end),
  own("grep", "Finds lines that match a regular expression", { { "pattern", "RE2" }, PATH }, function(a) return orcs.grep(a.pattern, a.path) end),
  own("glob", "Finds files by name", { { "pattern", "with *, ? and **" }, { "dir", "where to begin", optional = true } },
    function(a) return orcs.glob(a.pattern, a.dir) end),
  own("mkdir", "Makes a directory", { PATH }, function(a) return orcs.mkdir(a.path) end),
  own("remove", "Removes a file or directory", { PATH }, function(a) return orcs.remove(a.path) end),
  own("mv", "Moves a file or directory", { { "src", "from" }, { "dst", "to" } }, function(a) return orcs.mv(a.src, a.dst) end),
  own("exec", "Runs a command", { { "cmd", "a command" } }, function(a) return orcs.exec(a.cmd) end),
}

local KIND = {
  read = "fs.read", grep = "fs.read", glob = "fs.read", write = "fs.write", mkdir = "fs.write", mv = "fs.write", remove = "fs.delete",
  exec = "exec",
}

local registered, names = {}, {} -- name → intent; names in the order they came
local by_name = {}
for i = 1, #OWN do by_name[OWN[i].name] = OWN[i] end

local function every()
  local list = {}
  for i = 1, #OWN do list[i] = OWN[i] end
  for i = 1, #names do list[#list + 1] = registered[names[i]] end
  return list
end

-- ── registered ones ───────────────────────────────────────────────────────────────────────────────────────

-- What the component said, as a result.
local function asked(intent, args)
  local said = orcs.request(intent.component, intent.operation, args, { timeout_ms = intent.timeout_ms })
  if said.success then return said.data end
  return { ok = false, error = said.error or "the component failed", error_kind = said.error_kind }
end

local TAKEN = { name = "string", description = "string", component = "string", operation = "string", params = "table", timeout_ms = "number" }

function orcs.register_intent(spec)
  expect(spec, "table", 1, "register_intent")
  for k, v in next, spec do
    if not TAKEN[k] then return invalid(tostring(k) .. ": unknown option", tostring(k)) end
    if type(v) ~= TAKEN[k] then return invalid(k .. ": a " .. TAKEN[k] .. " expected, got a " .. type(v), k) end
  end
  local name, component = rawget(spec, "name"), rawget(spec, "component")
  if not name or #name > 64 or not find(name, "^[%w_][%w_.:-]*$") then
    return invalid("name: 1 to 64 letters, digits, _, ., : and - expected", "name")
  end
  if by_name[name] then return invalid("name: " .. name .. " is one of orcs' own", "name") end
  if not component then return invalid("component: is missing", "component") end
  if not registered[name] and #names >= MAX_INTENTS then return invalid("there are " .. MAX_INTENTS .. " intents already", "name") end
  local params, given = {}, rawget(spec, "params") or {}
  for param, about in next, given do
    local field = "params." .. tostring(param)
    if type(param) ~= "string" or type(about) ~= "table" then return invalid(field .. ": {type, description, required} expected", field) end
    local kind, says = rawget(about, "type") or "string", rawget(about, "description") or ""
    if not TYPES[kind] then return invalid(field .. ".type: one of JSON Schema's types expected", field .. ".type") end
    if type(says) ~= "string" then return invalid(field .. ".description: a text expected", field .. ".description") end
    params[#params + 1] = { name = param, type = kind, description = says, required = rawget(about, "required") == true }
  end
  sort(params, function(a, b) return a.name < b.name end)
  if not registered[name] then names[#names + 1] = name end
  local intent = {
    name = name, description = rawget(spec, "description") or "", params = params, component = component,
    operation = rawget(spec, "operation") or "execute", timeout_ms = rawget(spec, "timeout_ms"),
  }
  intent.call = function(args) return asked(intent, args) end
  registered[name], K.registered = intent, true
  return { ok = true }
end

function orcs.dispatch(name, args)
  expect(name, "string", 1, "dispatch")
  if args ~= nil then expect(args, "table", 2, "dispatch") end
  local intent = by_name[name] or registered[name]
  if not intent then
    return { ok = false, error = "there is no intent " .. tostring(name), error_kind = "not_found", retryable = false, detail = {} }
  end
  args = args or {}
  for i = 1, #intent.params do
    local param = intent.params[i]
    local v = rawget(args, param.name)
    if v == nil and param.required then return invalid(param.name .. ": is missing", param.name) end
    if v ~= nil and intent.own and type(v) ~= "string" then return invalid(param.name .. ": a text expected", param.name) end
  end
  return intent.call(args)
end

-- ── told ──────────────────────────────────────────────────────────────────────────────────────────────────

local function schema(intent)
  local properties, required = {}, K.values.array {}
  for i = 1, #intent.params do
    local param = intent.params[i]
    properties[param.name] = { type = param.type, description = param.description }
    if param.required then required[#required + 1] = param.name end
  end
  return { type = "object", properties = properties, required = required }
end

local function each(make)
  return function()
    local list = every()
    for i = 1, #list do list[i] = make(list[i]) end
    return list
  end
end

orcs.intent_defs = each(function(intent)
  return { name = intent.name, description = intent.description, parameters = schema(intent) }
end)

orcs.tool_schemas = each(function(intent)
  local args = K.values.array {}
  for i = 1, #intent.params do
    local param = intent.params[i]
    args[i] = { name = param.name, type = param.type, required = param.required, description = param.description }
  end
  return { name = intent.name, description = intent.description, args = args }
end)

function orcs.tool_descriptions()
  local lines = {}
  for i, intent in K.raw.base.ipairs(every()) do
    local args = {}
    for j = 1, #intent.params do args[j] = intent.params[j].name .. (intent.params[j].required and "" or "?") end
    lines[i] = format("%s(%s): %s", intent.name, concat(args, ", "), intent.description)
  end
  return concat(lines, "\n")
end

-- ── for orcs.llm ──────────────────────────────────────────────────────────────────────────────────────────

-- The intents as tools; with `all` also those of orcs' own that a grant is held for. nil: there are none.
function K.intents_as_tools(all)
  local tools, held = {}, all and orcs.caps() or {}
  for _, intent in next, every() do
    if not intent.own or held[KIND[intent.name]] then
      tools[#tools + 1] = { name = intent.name, description = intent.description, parameters = schema(intent), run = function(args)
        return orcs.dispatch(intent.name, args)
      end }
    end
  end
  return #tools > 0 and tools or nil
end

-- What a caught error waits for. Nothing suspends here by raising, so it is always nil.
function orcs.suspended_info() return nil end
