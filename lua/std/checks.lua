-- orcs.sanitize_arg, sanitize_path, sanitize_strict, glob_match: is this text what it should be? Nothing is changed.
--
-- A text that passes comes back as `value`; one that does not, with every place where it breaks a rule (the first
-- hundred). They are checks and no gate: what a path or a command may reach is for the grant.

local K = ...
local type, error, rawget, rawlen = K.raw.base.type, K.raw.base.error, K.raw.base.rawget, K.raw.base.rawlen
local sub, byte, format = K.raw.string.sub, K.raw.string.byte, K.raw.string.format
local find = K.libs.string.find -- of C's, one call may take long
local expect, orcs = K.expect, K.orcs

local MOST = 100

-- ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────

local function each(s, set, tell)
  local at = find(s, set)
  while at do
    if not tell(at, sub(s, at, at)) then return end
    at = find(s, set, at + 1)
  end
end

local RULES = {
  control_char = { "[%c\127]", "a control character" },
  shell_meta = { "[;&|<>`$()!\\'\"\n]", "a sign that means something to a shell" },
  env_expansion = { "[$%%]", "a sign that stands for a variable" },
  glob = { "[*?%[%]{}~]", "a sign that stands for other names" },
}

local function traversals(s, tell)
  if byte(s) == 47 and not tell(1, "/", "an absolute path") then return end
  if byte(s) == 126 and not tell(1, "~", "a home directory") then return end
  if find(s, "^%a:[/\\]") and not tell(1, sub(s, 1, 3), "an absolute path") then return end
  local at = 1
  while at <= #s + 1 do
    local stop = find(s, "[/\\]", at) or #s + 1
    if sub(s, at, stop - 1) == ".." and not tell(at, "..", "a way up") then return end
    at = stop + 1
  end
end

local function checked(name, rules)
  orcs[name] = function(s)
    expect(s, "string", 1, name)
    local violations = {}
    local function teller(rule, what)
      return function(at, fragment, special)
        violations[#violations + 1] = { rule = rule, message = format("%s at byte %d", special or what, at), position = at, fragment = fragment }
        return #violations < MOST
      end
    end
    for i = 1, #rules do
      local rule = rules[i]
      if #violations >= MOST then break end
      if rule == "path_traversal" then
        traversals(s, teller(rule))
      else
        each(s, RULES[rule][1], teller(rule, RULES[rule][2]))
      end
    end
    if #violations == 0 then return { ok = true, value = s } end
    local count = #violations
    return {
      ok = false, error = format("%d violation%s: %s", count, count == 1 and "" or "s", violations[1].message),
      error_kind = "invalid_input", retryable = false, detail = { rule = violations[1].rule }, violations = violations,
    }
  end
end

checked("sanitize_arg", { "control_char" })
checked("sanitize_path", { "path_traversal", "control_char" })
checked("sanitize_strict", { "control_char", "shell_meta", "env_expansion", "glob", "path_traversal" })

-- ── globs, as the gate reads them (luahost/gate/paths.py) ─────────────────────────────────────────────────

local function names_of(path)
  local names, n, at = {}, 0, 1
  while at <= #path + 1 do
    local stop = find(path, "/", at, true) or #path + 1
    local name = sub(path, at, stop - 1)
    if name ~= "" and name ~= "." then
      n = n + 1
      names[n] = name
    end
    at = stop + 1
  end
  return names
end

local function is_hidden(name) return byte(name) == 46 end

local function is_name(glob, name)
  if is_hidden(name) and not is_hidden(glob) then return false end
  local at, here, star, seen = 1, 1, nil, nil
  while here <= #name do
    local sign = byte(glob, at)
    if sign == 42 then -- *
      star, seen, at = at, here, at + 1
    elseif sign and (sign == 63 or sign == byte(name, here)) then
      at, here = at + 1, here + 1
    elseif star then
      seen = seen + 1
      at, here = star + 1, seen
    else
      return false
    end
  end
  return not find(glob, "[^*]", at)
end

-- Row by row: reached[i] says whether the globs so far can be the first i names.
local function matches(globs, names)
  local reached = { [0] = true }
  for place = 1, #globs do
    local row, glob = {}, globs[place]
    if glob ~= "**" then
      for i = 1, #names do row[i] = reached[i - 1] and is_name(glob, names[i]) end
    else
      if place < #globs then
        for i = 0, #names do row[i] = reached[i] end
      end
      local through = false
      for i = 1, #names do
        through = (through or reached[i - 1]) and not is_hidden(names[i])
        row[i] = row[i] or through
      end
    end
    reached = row
  end
  return reached[#names] == true
end

local function texts(t, n)
  if type(t) == "string" then t = { t } end
  if type(t) ~= "table" then error("bad argument #" .. n .. " to 'glob_match' (list of texts expected, got " .. type(t) .. ")", 3) end
  local list = {}
  for i = 1, rawlen(t) do
    list[i] = rawget(t, i)
    if type(list[i]) ~= "string" then error("bad argument #" .. n .. " to 'glob_match' (item " .. i .. ": text expected)", 3) end
  end
  return list
end

function orcs.glob_match(patterns, paths)
  local globs, all = texts(patterns, 1), texts(paths, 2)
  for i = 1, #globs do globs[i] = names_of(globs[i]) end
  local matched, unmatched = K.values.array {}, K.values.array {}
  for i = 1, #all do
    local names, hit = names_of(all[i]), false
    for j = 1, #globs do
      hit = matches(globs[j], names)
      if hit then break end
    end
    local list = hit and matched or unmatched
    list[#list + 1] = all[i]
  end
  return { matched = matched, unmatched = unmatched }
end
