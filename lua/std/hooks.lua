-- orcs.hook, unhook: a script watches its own calls. A hook may look, and it may deny; it can allow nothing.
--
-- Before a call that needs a grant leaves the VM, the hooks of tool.pre_execute see what will be sent: a copy, so nothing
-- they do to it changes the call. A hook that fails denies. Those of tool.post_execute see the result, also a copy. What a
-- hook lets through the host judges as ever; it does not know that there are hooks. Hooks belong to this VM: a child
-- has none of its parent's, what it may do is for its caps.

local K = ...
local type, error, next, rawget, rawequal = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawequal
local match, format, sub = K.raw.string.match, K.raw.string.format, K.raw.string.sub
local insert, remove = K.raw.table.insert, K.raw.table.remove
local pcall, decode, encode, strands, text_of_error = K.pcall, K.decode, K.encode, K.strands, K.text_of_error
local expect, invalid, orcs = K.expect, K.invalid, K.orcs

local MAX_DEPTH, MAX_HOOKS, MAX_FQL = 4, 100, 1000
local PRE, POST = "tool.pre_execute", "tool.post_execute"
local GOES_ON = { continue = true }
local DENIES = { abort = true, skip = true, deny = true }

-- The calls that need a grant (tests/test_api.py).
local WATCHED = {
  llm = true, llm_ping = true, llm_models = true, read = true, write = true, mkdir = true, remove = true, mv = true, glob = true,
  grep = true, scan_dir = true, git_info = true, parse_frontmatter = true, exec = true, exec_argv = true, http = true,
  spawn_child = true, mcp_servers = true, mcp_tools = true, mcp_call = true,
}
K.watched = WATCHED

local hooks = { [PRE] = {}, [POST] = {} } -- point → hooks, in the order they are asked
local count, last = 0, 0
local depth = K.raw.base.setmetatable({}, { __mode = "k" }) -- strand → how many hooks it is inside of

local function denied(hook, why)
  return {
    ok = false, error = "denied by the hook " .. hook.id .. ": " .. why, error_kind = "hook_denied", retryable = false,
    detail = { hook = hook.id, reason = why },
  }
end

-- What the hook says of the call: nil, or why not.
local function asked(hook, context)
  local ok, answer = pcall(hook.handler, context)
  if not ok then return "it failed: " .. text_of_error(answer) end
  if type(answer) ~= "table" or rawequal(answer, context) then return nil end
  local action = rawget(answer, "action")
  if action == nil or GOES_ON[action] then return nil end
  local reason = rawget(answer, "reason")
  if DENIES[action] then return type(reason) == "string" and sub(reason, 1, 500) or "no reason given" end
  return format("it answered %s; a hook may continue or deny", type(action) == "string" and sub(action, 1, 40) or type(action))
end

-- Calls the hooks of a point; → hook and why, of the first that denies.
local function ask_all(point, op, payload)
  local strand = strands.current()
  local inside = depth[strand] or 0
  local list = {}
  for i = 1, #hooks[point] do list[i] = hooks[point][i] end -- hooks may come and go meanwhile
  for i = 1, #list do
    local hook = list[i]
    if hook.target == "*" or hook.target == op then
      if inside >= MAX_DEPTH then return hook, "hooks are nested deeper than " .. MAX_DEPTH end
      depth[strand] = inside + 1
      local why = asked(hook, { hook_point = point, operation = op, depth = inside + 1, max_depth = MAX_DEPTH, payload = payload() })
      depth[strand] = inside
      if why then return hook, why end
    end
  end
end

local function before(op, args)
  if not WATCHED[op] or #hooks[PRE] == 0 then return nil end
  local hook, why = ask_all(PRE, op, function() return decode(args) end)
  if hook then return denied(hook, why) end
end

local function after(op, result)
  if not WATCHED[op] or #hooks[POST] == 0 then return end
  local text = encode(result)
  if not text then return end -- a copy has no room
  local hook, why = ask_all(POST, op, function() return decode(text) end)
  if hook then orcs.log("warn", "the hook " .. hook.id .. " of " .. POST .. ": " .. why) end -- it is done already
end

local TAKEN = { fql = "string", point = "string", handler = "function", priority = "number", id = "string" }

-- orcs.hook("scope::target:point", fn), or {fql, point, handler, priority = 100, id}. The lower priority is asked first.
function orcs.hook(spec, handler)
  if type(spec) == "string" then
    local fql, point = match(sub(spec, 1, MAX_FQL), "^(.-):([%w_]+%.[%w_]+)$")
    if not fql then return invalid("a text like *::*:" .. PRE .. " expected", "point") end
    expect(handler, "function", 2, "hook")
    spec = { fql = fql, point = point, handler = handler }
  end
  expect(spec, "table", 1, "hook")
  local made = { fql = "*::*", priority = 100 }
  for k, v in next, spec do
    if not TAKEN[k] then return invalid(K.tostring(k) .. ": unknown option", K.tostring(k)) end
    if type(v) ~= TAKEN[k] then return invalid(k .. ": a " .. TAKEN[k] .. " expected, got a " .. type(v), k) end
    made[k] = v
  end
  if not made.handler then return invalid("handler: is missing", "handler") end
  local list = hooks[made.point]
  if not list then return invalid("point: " .. PRE .. " or " .. POST .. " expected", "point") end
  local target = match(sub(made.fql, 1, MAX_FQL), "^[%w_*]+::([%w_*]+)$")
  if not target then return invalid("fql: a text like *::* or builtin::read expected", "fql") end
  if target ~= "*" and not WATCHED[target] then return invalid("fql: no call of that name needs a grant", "fql") end
  if count >= MAX_HOOKS then return invalid("there are " .. MAX_HOOKS .. " hooks already", "id") end
  last = last + 1
  made.id, made.target = made.id or "hook-" .. last, target
  for _, each in next, hooks do
    for i = 1, #each do
      if each[i].id == made.id then return invalid("id: there is a hook of that id", "id") end
    end
  end
  local at = #list + 1
  while at > 1 and list[at - 1].priority > made.priority do at = at - 1 end
  insert(list, at, made)
  count = count + 1
  K.hooked(before, after)
  return { ok = true, id = made.id }
end

function orcs.unhook(id)
  expect(id, "string", 1, "unhook")
  for _, list in next, hooks do
    for i = 1, #list do
      if list[i].id == id then
        remove(list, i)
        count = count - 1
        if count == 0 then K.hooked(nil, nil) end
        return { ok = true }
      end
    end
  end
  return { ok = false, error = "there is no hook " .. sub(id, 1, 100), error_kind = "not_found", retryable = false, detail = {} }
end
