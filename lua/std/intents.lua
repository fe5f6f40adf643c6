-- Intents, the upstream's word for tools by name: orcs.register_intent, unregister_intent, intent_defs, tool_schemas,
-- tool_descriptions, dispatch.
--
-- There are nine that are orcs' own functions, and those a script registers, which a function of its own answers or a
-- component below it. An intent is no right: whoever dispatches it, script or model, it is judged like the call it is. A
-- model is offered those the script registered when it says resolve=true and names no tools, with tools=true also those of
-- orcs' own that a grant is held for. The registry is here and nowhere a script could put another in its place.

local K = ...
local type, next, rawget, tostring, ipairs = K.raw.base.type, K.raw.base.next, K.raw.base.rawget, K.tostring, K.raw.base.ipairs
local find, format, concat, sub = K.raw.string.find, K.raw.string.format, K.raw.table.concat, K.raw.string.sub
local sort, remove = K.libs.table.sort, K.raw.table.remove
local encode, decode, misfit = K.encode, K.decode, K.misfit
local expect, invalid, orcs = K.expect, K.invalid, K.orcs

local MAX_INTENTS, MAX_DESCRIPTION, MAX_SCHEMA = 1000, 8192, 65536 -- the latter two in bytes
local TYPES = { string = true, number = true, integer = true, boolean = true, object = true, array = true }

-- What a model is told of the arguments: a JSON Schema of {name, type, description, required} each.
local function schema_of(params)
  local properties, required = {}, K.values.array {}
  for i = 1, #params do
    local param = params[i]
    properties[param.name] = { type = param.type, description = param.description }
    if param.required then required[#required + 1] = param.name end
  end
  return { type = "object", properties = properties, required = required }
end

-- ── orcs' own ─────────────────────────────────────────────────────────────────────────────────────────────

local function own(name, kind, description, args, call)
  local params = {}
  for i = 1, #args do
    params[i] = { name = args[i][1], type = "string", description = args[i][2], required = not args[i].optional }
  end
  local function plainly(given) -- what was checked, and no metatable
    local a = {}
    for i = 1, #params do a[params[i].name] = rawget(given, params[i].name) end
    return call(a)
  end
  return { name = name, kind = kind, description = description, params = params, parameters = schema_of(params), call = plainly }
end

local PATH = { "path", "a path beneath the granted directories" }
local OWN = {
  own("read", "fs.read", "Reads a file", { PATH }, function(a) return orcs.read(a.path) end),
  own("write", "fs.write", "Writes a file", { PATH, { "content", "the whole new content" } },
    function(a) return orcs.write(a.path, a.content) end),
  own("grep", "fs.read", "Finds lines that match a regular expression", { { "pattern", "RE2" }, PATH },
    function(a) return orcs.grep(a.pattern, a.path) end),
  own("glob", "fs.read", "Finds files by name", { { "pattern", "with *, ? and **" }, { "dir", "where to begin", optional = true } },
    function(a) return orcs.glob(a.pattern, a.dir) end),
  own("mkdir", "fs.write", "Makes a directory", { PATH }, function(a) return orcs.mkdir(a.path) end),
  own("remove", "fs.delete", "Removes a file or directory", { PATH }, function(a) return orcs.remove(a.path) end),
  own("mv", "fs.write", "Moves a file or directory", { { "src", "from" }, { "dst", "to" } }, function(a) return orcs.mv(a.src, a.dst) end),
  own("exec", "exec", "Runs a command", { { "cmd", "a command" } }, function(a) return orcs.exec(a.cmd) end),
  own("http", "http", "Sends a request", { { "method", "GET, POST …" }, { "url", "http or https" }, { "body", "what is sent", optional = true } },
    function(a) return orcs.http(a.method, a.url, { body = a.body }) end),
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

-- The spec's params as a list by name, or nil and what is wrong.
local function listed(given)
  local params = {}
  for param, about in next, given do
    local field = "params." .. tostring(param)
    if type(param) ~= "string" or type(about) ~= "table" then return nil, invalid(field .. ": {type, description, required} expected", field) end
    local kind, says = rawget(about, "type") or "string", rawget(about, "description") or ""
    if not TYPES[kind] then return nil, invalid(field .. ".type: one of JSON Schema's types expected", field .. ".type") end
    if type(says) ~= "string" then return nil, invalid(field .. ".description: a text expected", field .. ".description") end
    params[#params + 1] = { name = param, type = kind, description = says, required = rawget(about, "required") == true }
  end
  sort(params, function(a, b) return a.name < b.name end)
  return params
end

-- A copy that nobody changes later, as small and plain as what can be sent; or nil and what is wrong.
local function kept(schema, field)
  local bytes, message = encode(schema)
  if not bytes then return nil, invalid(field .. ": " .. message, field) end
  if #bytes > MAX_SCHEMA then return nil, invalid(format("%s: at most %d bytes expected", field, MAX_SCHEMA), field) end
  return decode(bytes)
end

local TAKEN = {
  name = "string", description = "string", component = "string", operation = "string", params = "table", parameters = "table",
  run = "function", timeout_ms = "number",
}

function orcs.register_intent(spec)
  expect(spec, "table", 1, "register_intent")
  local given = {}
  for k, v in next, spec do
    if not TAKEN[k] then return invalid(tostring(k) .. ": unknown option", tostring(k)) end
    if type(v) ~= TAKEN[k] then return invalid(k .. ": a " .. TAKEN[k] .. " expected, got a " .. type(v), k) end
    given[k] = v
  end
  local name, description = given.name, given.description or ""
  if not name or #name > 64 or not find(name, "^[%w_][%w_.:-]*$") then
    return invalid("name: 1 to 64 letters, digits, _, ., : and - expected", "name")
  end
  if by_name[name] then return invalid("name: " .. name .. " is one of orcs' own", "name") end
  if #description > MAX_DESCRIPTION then return invalid(format("description: at most %d bytes expected", MAX_DESCRIPTION), "description") end
  if not given.run == not given.component then return invalid("component: one of run and component expected", "component") end
  if given.params and given.parameters then return invalid("parameters: one of params and parameters expected", "parameters") end
  if not registered[name] and #names >= MAX_INTENTS then return invalid("there are " .. MAX_INTENTS .. " intents already", "name") end
  local schema, wrong = given.parameters, nil
  if not schema then
    local params
    params, wrong = listed(given.params or {})
    if not params then return wrong end
    schema = schema_of(params)
  end
  schema, wrong = kept(schema, given.parameters and "parameters" or "params")
  if not schema then return wrong end
  local intent = {
    name = name, description = description, parameters = schema, component = given.component,
    operation = given.operation or "execute", timeout_ms = given.timeout_ms,
  }
  intent.call = given.run or function(args) return asked(intent, args) end
  if not registered[name] then names[#names + 1] = name end
  registered[name], K.registered = intent, true
  return { ok = true }
end

local function unknown(name)
  return { ok = false, error = "there is no intent " .. name, error_kind = "not_found", retryable = false, detail = {} }
end

function orcs.unregister_intent(name)
  expect(name, "string", 1, "unregister_intent")
  if by_name[name] then return invalid("name: " .. name .. " is one of orcs' own", "name") end
  if not registered[name] then return unknown(name) end
  registered[name] = nil
  for i = 1, #names do
    if names[i] == name then remove(names, i) break end
  end
  K.registered = #names > 0
  return { ok = true }
end

function orcs.dispatch(name, args)
  expect(name, "string", 1, "dispatch")
  if args ~= nil then expect(args, "table", 2, "dispatch") end
  local intent = by_name[name] or registered[name]
  if not intent then return unknown(name) end
  args = args or {}
  local problem, at, what = misfit(args, intent.parameters, "arguments")
  if problem then
    local field = sub(at, 1, 10) == "arguments." and sub(at, 11) or at
    return invalid(field .. ": " .. what, field)
  end
  return intent.call(args)
end

-- ── told ──────────────────────────────────────────────────────────────────────────────────────────────────

-- {name, type, required, description} of each argument that the schema names, those of orcs' own in their order.
local function args_of(intent)
  if intent.params then return intent.params end
  local args, schema = K.values.array {}, intent.parameters
  local properties, required, must = rawget(schema, "properties"), rawget(schema, "required"), {}
  if type(required) == "table" then
    for _, name in next, required do must[name] = true end
  end
  if type(properties) == "table" then
    for name, about in next, properties do
      about = type(about) == "table" and about or {}
      local kind, says = rawget(about, "type"), rawget(about, "description")
      args[#args + 1] = {
        name = name, type = type(kind) == "string" and kind or "any", required = must[name] == true,
        description = type(says) == "string" and says or "",
      }
    end
  end
  sort(args, function(a, b) return tostring(a.name) < tostring(b.name) end)
  return args
end

local function each(make)
  return function()
    local list = every()
    for i = 1, #list do list[i] = make(list[i]) end
    return list
  end
end

-- What is handed out is a copy: who changes it changes nothing here.
local function told(intent)
  return { name = intent.name, description = intent.description, parameters = decode((encode(intent.parameters))) }
end

orcs.intent_defs = each(told)

orcs.tool_schemas = each(function(intent)
  local args = K.values.array {}
  for i, each in ipairs(args_of(intent)) do
    args[i] = { name = each.name, type = each.type, required = each.required, description = each.description }
  end
  return { name = intent.name, description = intent.description, args = args }
end)

function orcs.tool_descriptions()
  local lines = {}
  for i, intent in ipairs(every()) do
    local args = {}
    for j, each in ipairs(args_of(intent)) do args[j] = tostring(each.name) .. (each.required and "" or "?") end
    lines[i] = format("%s(%s): %s", intent.name, concat(args, ", "), intent.description)
  end
  return concat(lines, "\n")
end

-- ── for orcs.llm, resolve_loop and who serves them ────────────────────────────────────────────────────────

local function as_tool(intent)
  return { name = intent.name, description = intent.description, parameters = intent.parameters, run = intent.call }
end

-- The intents as tools; with `all` also those of orcs' own that a grant is held for. nil: there are none.
function K.intents_as_tools(all)
  local tools, held = {}, all and orcs.caps() or {}
  for _, intent in next, every() do
    if not intent.kind or held[intent.kind] then tools[#tools + 1] = as_tool(intent) end
  end
  return #tools > 0 and tools or nil
end

-- The intent of this name as a tool, or nil and the failed result; `field` is where the script named it.
function K.intent_as_tool(name, field)
  local intent = by_name[name] or registered[name]
  if not intent then return nil, invalid(field .. ": there is no intent " .. name, field) end
  if intent.kind and not orcs.caps()[intent.kind] then
    return nil, {
      ok = false, error = field .. ": " .. name .. " needs the grant " .. intent.kind, error_kind = "permission_denied",
      retryable = false, detail = { field = field, grant = intent.kind },
    }
  end
  return as_tool(intent)
end

-- What the script itself answers, for who serves it: {name, description, parameters} each.
function K.intents_served()
  local list = K.values.array {}
  for i = 1, #names do list[i] = told(registered[names[i]]) end
  return list
end

-- One call of such an intent, answered as a model's would be: {content, is_error}.
function K.serve_intent(call)
  local intent = registered[call.name]
  local answer = K.answer(intent and as_tool(intent), { params = call.arguments })
  return { content = answer.content, is_error = answer.is_error }
end

-- What a caught error waits for. Nothing suspends here by raising, so it is always nil.
function orcs.suspended_info() return nil end
