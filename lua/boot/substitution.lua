-- substitution.lua: the long way of gsub.
--
-- Idea. Replacement strings are read once into parts. C does the whole call where its time and its result are bounded and no
-- function of the script runs in it; else one match after another is found (ways.lua) and replaced here, so that a function
-- may yield and be killed.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4.

local K = ...
K.need("boot/ways.lua")
local raw = K.raw
local find, gmatch, gsub, sub = raw.string.find, raw.string.gmatch, raw.string.gsub, raw.string.sub
local concat, mtype = raw.table.concat, raw.math.type
local pack, unpack = raw.table.pack, raw.table.unpack
local type, tonumber, tostring = raw.base.type, raw.base.tonumber, raw.base.tostring
local getmetatable, pcall, error = raw.base.getmetatable, raw.base.pcall, raw.base.error
local raise, expected, str, int, look = K.raise, K.expected, K.str, K.int, K.look
local known, way, probed, search = K.analysis.known, K.ways.way, K.ways.probed, K.ways.search
local templates, remember, MAX_RESULT = K.patterns.templates, K.patterns.remember_template, K.patterns.MAX_RESULT
K.guarded()

local force_way = K.force_way -- tests: every match goes this way

-- Replacement strings: {parts, max = highest capture used, most = bytes of a subject for which the result is surely not too
-- large}; a part is a string or the number of a capture.
local function template(text)
  local t = templates[text]
  if t then return t end
  t = { max = 0 }
  local refs = 0
  local i = 1
  while true do
    local at = find(text, "%", i, true)
    if not at then break end
    if at > i then t[#t + 1] = sub(text, i, at - 1) end
    local c = sub(text, at + 1, at + 1)
    local l = find(c, "^%d") and tonumber(c)
    if l then
      t[#t + 1] = l
      t.max, refs = l > t.max and l or t.max, refs + 1
    elseif c == "%" then
      t[#t + 1] = "%"
    else
      t.max, t[#t + 1] = 99, false -- "invalid use", if it comes to that
      break
    end
    i = at + 2
  end
  if i <= #text then t[#t + 1] = sub(text, i) end
  t.most = MAX_RESULT // (#text * (refs > 0 and 12 or 1) + 1) - 1
  if #text <= 64 then remember(text, t) end
  return t
end

local function expand(t, info, whole, caps)
  local out = {}
  for at = 1, #t do
    local part = t[at]
    if part == 0 or part == 1 and info.ncap == 0 then
      part = whole
    elseif not part then
      raise("invalid use of '%' in replacement string")
    elseif mtype(part) then
      if part > info.ncap then raise("invalid capture index %" .. part) end
      part = caps[part] or raise("unfinished capture")
    end
    out[at] = part
  end
  return concat(out)
end

local function replace_all(info, w, s, kind, repl, t, max)
  local out, filled, count, last, size, copied = {}, 0, 0, nil, 0, 1
  local i, n, need = 1, #s, t and -1 or kind == "table" and 1 or 32
  local ncap, pat = info.ncap, info.p
  while count < max and i <= n + 1 do
    local st, e, a, b, found
    if ncap > 2 then
      found = pack(search(info, w, s, i, need))
      st, e = found[1], found[2]
    elseif w == 1 then
      st, e, a, b = find(s, pat, i)
    else
      st, e, a, b = search(info, w, s, i, need)
    end
    if not st then break end
    if e == last then -- the empty match where the last one ended: try one further
      if i > n then break end
      i, last = i + 1, nil
    else
      last, i, count = e, e + 1, count + 1
      local v
      if t then
        v = expand(t, info, sub(s, st, e), found and { unpack(found, 3, found.n) } or { a, b })
      elseif kind == "function" then
        if found then
          v = repl(unpack(found, 3, found.n))
        elseif ncap == 2 then
          v = repl(a, b)
        else
          v = repl(a or sub(s, st, e))
        end
      else
        v = repl[found and found[3] or a or sub(s, st, e)]
      end
      if v then
        if type(v) ~= "string" then
          if type(v) ~= "number" then raise("invalid replacement value (a " .. type(v) .. ")") end
          v = tostring(v)
        end
        size = size + #v + st - copied
        if size > MAX_RESULT then raise("resulting string too large") end
        if st > copied then
          filled = filled + 1
          out[filled] = sub(s, copied, st - 1)
        end
        filled = filled + 1
        out[filled] = v
        copied = e + 1
      end
      if info.anchored then break end
    end
  end
  if filled == 0 then return s, count end
  if size + n - copied + 1 > MAX_RESULT then raise("resulting string too large") end
  out[filled + 1] = sub(s, copied)
  return concat(out), count
end

-- gsub(s, p, f) where C's iterator can have info.whole: p, or one capture of it, with its place before and behind. Whether
-- all that f gave are texts is asked at the end.
function K.patterns.long.gsub_by(s, info, f)
  local out, filled, count, copied, two = {}, 0, 0, 1, info.ncap == 2
  for from, a, b, c in gmatch(s, info.whole) do
    local v, to
    if two then v, to = f(a, b), c else v, to = f(a), b end
    count = count + 1
    if v then
      if from > copied then
        filled = filled + 1
        out[filled] = sub(s, copied, from - 1)
      end
      filled, copied = filled + 1, to
      out[filled] = v
    end
  end
  if filled == 0 then return s, count end
  if copied <= #s then out[filled + 1] = sub(s, copied) end
  local ok, result = pcall(concat, out)
  if not ok then
    if result == "not enough memory" then error(result, 0) end
    for at = 1, filled do
      local ty = type(out[at])
      if ty ~= "string" and ty ~= "number" then raise("invalid replacement value (a " .. ty .. ")") end
    end
  end
  if #result > MAX_RESULT then raise("resulting string too large") end
  return result, count
end

function K.patterns.long.gsub(s, p, repl, max)
  s, p = str(s, 1, "gsub"), str(p, 2, "gsub")
  local kind = type(repl)
  max = int(max, 4, "gsub", #s + 1)
  if kind == "number" then
    kind, repl = "string", tostring(repl)
  elseif kind ~= "string" and kind ~= "table" and kind ~= "function" then
    expected(3, "gsub", "string/function/table", repl)
  end
  local info = known(p)
  local t = kind == "string" and template(repl) or nil
  local w = force_way
  if not w then
    if kind == "table" and not info.only_lua and #s <= info.fast_all and getmetatable(repl) == nil then
      local result, count = gsub(s, p, repl, max) -- nothing of the script's runs in it
      if #result > MAX_RESULT then raise("resulting string too large") end
      return result, count
    end
    if t and not info.only_lua and t.max <= info.refs and #s <= t.most then
      if #s > info.fast_all then look() end
      if #s <= info.all or probed(info, s, #s, true) then return gsub(s, p, repl, max) end
    end
    w = way(info, s)
  end
  return replace_all(info, w, s, kind, repl, t, max)
end
