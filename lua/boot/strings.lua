-- strings.lua: the string library that scripts see.
--
-- Idea. A function of C stays as it is unless it can run long (find and its kin: patterns.lua; rep), make what is too big (rep)
-- or show an address (format: %p, and %s of a table, function or thread).
--
-- Does not know: memory. Strings made by `..`, upper or pack are the allocator's affair.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4 and §5.

local K = ...
K.need("boot/patterns.lua")
local raw = K.raw
local find, sub, match = raw.string.find, raw.string.sub, raw.string.match
local format, rep = raw.string.format, raw.string.rep
local mtype = raw.math.type
local type, select, rawget, true_metatable = raw.base.type, raw.base.select, raw.base.rawget, raw.debug.getmetatable
local unpack, pack = raw.table.unpack, raw.table.pack
local raise, str, int = K.raise, K.str, K.int
K.guarded()

local MAX_RESULT = 16 << 20 -- bytes made by one rep
local MAX_QUOTED = 256 << 10 -- bytes of one argument of %q, which costs C up to 100 ns a byte
local C_BYTES <const> = 1 << 16 -- made by one call without a look at the clock, or searched for an address
local CACHE = 256 -- formats remembered

local S = K.libs.string or {}
for _, name in raw.base.ipairs({ "byte", "char", "len", "lower", "reverse", "sub", "upper", "pack", "packsize", "unpack" }) do
  S[name] = raw.string[name]
end
for name, f in raw.base.next, K.patterns.lib do S[name] = f end

local function rep_long(s, n, sep)
  s, n = str(s, 1, "rep"), int(n, 2, "rep")
  if sep ~= nil then sep = str(sep, 3, "rep") end
  local size = sep and #s + #sep or #s
  if n < 1 or size == 0 then return "" end
  if n > MAX_RESULT // size + 1 or size * n - (sep and #sep or 0) > MAX_RESULT then raise("resulting string too large") end
  if size * n <= 1 << 20 then return rep(s, n, sep) end
  K.look()
  local r = rep(s, n, sep)
  K.look() -- what is done with it next may be slow too
  return r
end

function S.rep(s, n, sep)
  if sep == nil and mtype(n) == "integer" and n <= C_BYTES and #(s .. "") * n <= C_BYTES and s ~= "" then
    return rep(s, n)
  end
  return (rep_long(s, n, sep))
end

-- ---- format -------------------------------------------------------------------------------------------------------------

-- What a format needs: AT_ONCE, C can have it; SEARCHED, C can have it when no address is in the result; or {refused = a
-- conversion nobody gets, quoted = numbers of its %q arguments, the numbers of its %s arguments...}.
local AT_ONCE <const>, SEARCHED <const> = 1, 2
local formats, format_count = {}, 0

local function study(fmt)
  local needs, arg, i = {}, 0, 1
  while true do
    i = find(fmt, "%", i, true)
    if not i then break end
    local spec = match(fmt, "^%%[-+#0 1-9.]*.", i)
    if not spec then break end
    if spec ~= "%%" then
      arg = arg + 1
      local c = sub(spec, -1)
      if c == "p" and #spec < 22 then return { refused = spec } end
      if c == "s" then
        needs[#needs + 1] = arg
      elseif c == "q" then
        needs.quoted = needs.quoted or {}
        needs.quoted[#needs.quoted + 1] = arg
      end
    end
    i = i + #spec
  end
  return (needs.quoted or needs[1]) and needs or AT_ONCE
end

local addressed = { table = true, ["function"] = true, thread = true, userdata = true }

local function format_long(fmt, ...)
  fmt = str(fmt, 1, "format")
  if #fmt > C_BYTES then K.look() end
  local needs = study(fmt)
  if #fmt <= 512 then
    if format_count >= CACHE then formats, format_count = {}, 0 end
    formats[fmt], format_count = needs == AT_ONCE and AT_ONCE or needs[1] and not needs.quoted and SEARCHED or nil, format_count + 1
  end
  if needs == AT_ONCE then return format(fmt, ...) end
  if needs.refused then raise("invalid conversion '" .. needs.refused .. "' to 'format'") end
  for at = 1, #(needs.quoted or "") do
    local v = select(needs.quoted[at], ...)
    if type(v) == "string" and #v > 8192 then
      if #v > MAX_QUOTED then raise("string too large for '%q'") end
      K.look()
    end
  end
  local args, n = pack(...), select("#", ...)
  for at = 1, #needs do
    local arg = needs[at]
    if arg <= n and addressed[type(args[arg])] then args[arg] = K.tostring(args[arg]) end
  end
  return format(fmt, unpack(args, 1, n))
end

-- Whether one of these is shown as an address: else nothing is formatted twice, nor a __tostring called twice.
local function any_addressed(...)
  local args = pack(...)
  for at = 1, args.n do
    local v = args[at]
    if addressed[type(v)] then
      local mt = true_metatable(v)
      if not mt or rawget(mt, "__tostring") == nil then return true end
    end
  end
  return false
end

function S.format(fmt, ...)
  local needs = formats[fmt]
  if needs == AT_ONCE then return format(fmt, ...) end
  if needs == SEARCHED then
    local r = format(fmt, ...)
    if (#r <= C_BYTES and not find(r, "0x", 1, true)) or not any_addressed(...) then return r end
  end
  return (format_long(fmt, ...))
end

K.libs.string = raw.base.setmetatable(S, nil)
