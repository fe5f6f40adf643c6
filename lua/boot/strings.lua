-- strings.lua: the string and utf8 libraries that scripts see.
--
-- Idea. A function of C stays as it is unless it can run long (find and its kin: patterns.lua; rep), make what is too big (rep)
-- or show an address (format: %p, and %s of a table, function or thread). A C function that can complain is called through
-- pcall, where Lua adds no position, and its complaint goes on with the script's line: no C function called here runs Lua code,
-- so pcall hides neither a kill nor a yield.
--
-- Does not know: memory. Strings made by `..`, upper or pack are the allocator's affair.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4 and §5.

local K = ...
local raw = K.raw
local find, sub, match = raw.string.find, raw.string.sub, raw.string.match
local format, rep = raw.string.format, raw.string.rep
local mtype = raw.math.type
local type, pcall, select, error, tonumber = raw.base.type, raw.base.pcall, raw.base.select, raw.base.error, raw.base.tonumber
local unpack, pack = raw.table.unpack, raw.table.pack
local raise, badarg, str, int = K.raise, K.badarg, K.str, K.int
K.guarded()

local MAX_RESULT = 16 << 20 -- bytes made by one rep
local MAX_QUOTED = 256 << 10 -- bytes of one argument of %q, which costs C up to 100 ns a byte
local CACHE = 256 -- formats remembered

local S = {}
for _, name in raw.base.ipairs({ "byte", "char", "len", "lower", "reverse", "sub", "upper", "pack", "packsize", "unpack" }) do
  S[name] = raw.string[name]
end
for name, f in raw.base.next, K.patterns.lib do S[name] = f end

function S.rep(s, n, sep)
  if not (type(s) == "string" and mtype(n) == "integer" and sep == nil) then
    s, n = str(s, 1, "rep"), int(n, 2, "rep")
    if sep ~= nil then sep = str(sep, 3, "rep") end
  end
  local size = sep and #s + #sep or #s
  if n < 1 or size == 0 then return "" end
  if n > MAX_RESULT // size + 1 or size * n - (sep and #sep or 0) > MAX_RESULT then raise("resulting string too large") end
  if size * n > 1 << 20 then K.breathe() end
  return rep(s, n, sep)
end

-- ---- format -------------------------------------------------------------------------------------------------------------

-- What a format needs: false, C can have it; or {refused = a conversion nobody gets, quoted = numbers of its %q arguments,
-- the numbers of its %s arguments...}.
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
        needs[arg == 1 and "one" or arg == 2 and "two" or arg == 3 and "three" or "more"] = arg
      elseif c == "q" then
        needs.quoted = needs.quoted or {}
        needs.quoted[#needs.quoted + 1] = arg
      end
    end
    i = i + #spec
  end
  return (needs.quoted or needs[1]) and needs or false
end

local function complain(message)
  if type(message) ~= "string" or message == "not enough memory" then error(message, 0) end
  local n, extra = match(message, "^bad argument #(%d+) to '[^']*' %((.*)%)$")
  if n then badarg(tonumber(n), "format", extra) end
  raise(message)
end

local addressed = { table = true, ["function"] = true, thread = true, userdata = true }

local function done(ok, r)
  if ok then return r end
  complain(r)
end

function S.format(fmt, ...)
  local needs = formats[fmt]
  if needs == nil then
    fmt = str(fmt, 1, "format")
    needs = study(fmt)
    if #fmt <= 512 then
      if format_count >= CACHE then formats, format_count = {}, 0 end
      formats[fmt], format_count = needs, format_count + 1
    end
  end
  if needs then
    if needs.refused then raise("invalid conversion '" .. needs.refused .. "' to 'format'") end
    if needs.quoted then
      for at = 1, #needs.quoted do
        local v = select(needs.quoted[at], ...)
        if type(v) == "string" and #v > 8192 then
          if #v > MAX_QUOTED then raise("string too large for '%q'") end
          K.breathe()
        end
      end
    end
    local a, b, c = ...
    if needs.one and addressed[type(a)] or needs.two and addressed[type(b)] or needs.three and addressed[type(c)]
      or needs.more and needs.more <= select("#", ...) then
      local args, n = pack(...), select("#", ...)
      for at = 1, #needs do
        local arg = needs[at]
        if arg <= n and addressed[type(args[arg])] then args[arg] = K.tostring(args[arg]) end
      end
      return done(pcall(format, fmt, unpack(args, 1, n)))
    end
  end
  local ok, r = pcall(format, fmt, ...)
  if ok then return r end
  complain(r)
end

K.libs = K.libs or {}
K.libs.string = S

local U = {}
for name, f in raw.base.next, raw.utf8 do U[name] = f end -- every one is linear in its arguments; charpattern is a string
K.libs.utf8 = U
