-- matcher.lua: Lua 5.4 patterns, read once and matched in Lua.
--
-- Idea. C's matcher cannot be interrupted, so patterns.lua uses it only where it can prove a bound. Here are the two things it
-- needs beside C: `parse` (a pattern as a flat list of nodes: patterns have no alternation, so a list is all there is) and
-- `compile` (a list of nodes as closures, each calling the next), whose loops are Lua and therefore end when the count hook
-- says so. A malformed pattern ends in a node that raises C's error when it is *reached*, as C does. Captures need no undo:
-- the list is linear, so whoever succeeds has set every capture on its way.
--
-- Does not know: lists of more than MAX_NODES items or patterns of more than MAX_PATTERN bytes ("pattern too complex" at once;
-- C says so only when its 200 levels are used up). One match runs at a time; nothing here calls a script or yields.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4.

local K = ...
local raw = K.raw
local byte, char, sub, find, gsub, match = raw.string.byte, raw.string.char, raw.string.sub, raw.string.find, raw.string.gsub, raw.string.match
local concat, tonumber, raise = raw.table.concat, raw.base.tonumber, K.raise
K.guarded()

local MAX_NODES, MAX_PATTERN = 10000, 1 << 20
local MAX_DEPTH = 200 -- MAXCCALLS: nested calls of C's match()
local C_RUN_NS = 5e6 -- a run of one class is left to C below this estimate

-- ---- classes ------------------------------------------------------------------------------------------------------------

local bytes = {}
for c = 0, 255 do bytes[c + 1] = char(c) end
local ALL = concat(bytes)

local class_cache, class_count = {}, 0

local function class_cost_ns(src)
  return #src <= 2 and 6 or 10 + 3 * #src
end

-- A class such as "a", ".", "%s" or "[^x]": {src=, ns= (C's time for one test), any=, has= byte -> true, and the 256 bits
-- a, b, c, d for quick intersections}. C itself says what belongs to it.
local function class(src)
  local known = class_cache[src]
  if known then return known end
  local step = 256 * 4000 // (#src + 1)
  step = step < 1 and 1 or step > 256 and 256 or step
  local pat = (#src == 1 and src ~= "." and find(src, "%p") and "%" .. src) or src
  local missing = {} -- in pieces, so that each C call is short even for a class of 1 MB
  for i = 1, 256, step do missing[#missing + 1] = gsub(sub(ALL, i, i + step - 1), pat, "") end
  missing = concat(missing)
  local has, bits = {}, { -1, -1, -1, -1 }
  for c = 0, 255 do has[c] = true end
  for i = 1, #missing do
    local c = byte(missing, i)
    has[c] = nil
    bits[(c >> 6) + 1] = bits[(c >> 6) + 1] & ~(1 << (c & 63))
  end
  known = { src = pat, ns = class_cost_ns(src), any = missing == "", has = has, a = bits[1], b = bits[2], c = bits[3], d = bits[4] }
  if #src <= 64 then
    if class_count >= 256 then class_cache, class_count = {}, 0 end
    class_cache[src], class_count = known, class_count + 1
  end
  return known
end

-- ---- parse --------------------------------------------------------------------------------------------------------------

-- Index after the class at p, or nil and C's complaint.
local function class_end(pat, p)
  local c = sub(pat, p, p)
  if c == "%" then
    if p == #pat then return nil, "malformed pattern (ends with '%')" end
    return p + 2
  elseif c ~= "[" then
    return p + 1
  end
  p = p + 1
  if byte(pat, p) == 94 then p = p + 1 end -- ^
  repeat
    if p > #pat then return nil, "malformed pattern (missing ']')" end
    local esc = byte(pat, p) == 37
    p = p + 1
    if esc and p <= #pat then p = p + 1 end
  until byte(pat, p) == 93 -- ]
  return p + 1
end

-- The nodes of pat from byte p on: {op=, class=, q=, ...}; `ncap` captures; `bad` when some path raises an error or leaves a
-- capture open; `nested` = how many nodes make C's match() call itself.
local function parse(pat, p)
  local open, closed, position = {}, {}, {}
  local nodes = { ncap = 0, nested = 0, bad = false, position = position }
  local function add(node, nested)
    nodes[#nodes + 1] = node
    if nested then nodes.nested = nodes.nested + 1 end
  end
  local function fault(text)
    nodes.bad = true
    add({ op = "error", text = text })
    return nodes
  end
  if #pat > MAX_PATTERN then return fault("pattern too complex") end
  local len = #pat
  while p <= len do
    if #nodes >= MAX_NODES then
      nodes = { ncap = 0, nested = 0, bad = true, position = position }
      return fault("pattern too complex")
    end
    local c, d = sub(pat, p, p), sub(pat, p + 1, p + 1)
    if c == "(" then
      if nodes.ncap >= 32 then return fault("too many captures") end
      local l = nodes.ncap + 1
      nodes.ncap = l
      if d == ")" then
        add({ op = "position", l = l }, true)
        closed[l], position[l] = true, true
        p = p + 2
      else
        add({ op = "open", l = l }, true)
        open[#open + 1] = l
        p = p + 1
      end
    elseif c == ")" then
      local l = open[#open]
      if not l then return fault("invalid pattern capture") end
      open[#open] = nil
      closed[l] = true
      add({ op = "close", l = l }, true)
      p = p + 1
    elseif c == "$" and p == len then
      add({ op = "end" })
      p = p + 1
    elseif c == "%" and d == "b" then
      if p + 3 > len then return fault("malformed pattern (missing arguments to '%b')") end
      add({ op = "balance", src = sub(pat, p, p + 3), x = byte(pat, p + 2), y = byte(pat, p + 3) })
      p = p + 4
    elseif c == "%" and d == "f" then
      if sub(pat, p + 2, p + 2) ~= "[" then return fault("missing '[' after '%f' in pattern") end
      local e, why = class_end(pat, p + 2)
      if not e then return fault(why) end
      add({ op = "frontier", class = class(sub(pat, p + 2, e - 1)) })
      p = e
    elseif c == "%" and find(d, "^%d") then
      local l = tonumber(d)
      if not closed[l] then return fault("invalid capture index %" .. d) end
      add({ op = position[l] and "never" or "again", l = l }) -- C compares a position capture's length as huge
      p = p + 2
    else
      local e, why = class_end(pat, p)
      if not e then return fault(why) end
      local q = match(pat, "^[*+?-]", e)
      add({ op = "class", class = class(sub(pat, p, e - 1)), q = q }, q)
      p = q and e + 1 or e
    end
  end
  if #open > 0 then nodes.bad, nodes.closed = true, closed end
  return nodes
end

-- ---- match --------------------------------------------------------------------------------------------------------------

local S, N, depth = "", 0, 0 -- the subject, its length, extra levels of C's match() in use
local from, to = {}, {} -- captures: first byte and the byte after; to = 0 for a position

local function accept(i)
  return i
end

local function nested(k) -- only for patterns that could use up C's 200 levels
  return function(i)
    depth = depth + 1
    if depth >= MAX_DEPTH then raise("pattern too complex") end
    local r = k(i)
    depth = depth - 1
    return r
  end
end

local build = {}

build["error"] = function(node)
  return function() raise(node.text) end
end

build["never"] = function()
  return function() return nil end
end

build["end"] = function(_, k)
  return function(i)
    if i > N then return k(i) end
  end
end

function build.open(node, k)
  local l = node.l
  return function(i)
    from[l] = i
    return k(i)
  end
end

function build.close(node, k)
  local l = node.l
  return function(i)
    to[l] = i
    return k(i)
  end
end

function build.position(node, k)
  local l = node.l
  return function(i)
    from[l] = i
    return k(i)
  end
end

function build.again(node, k)
  local l = node.l
  return function(i)
    local len = to[l] - from[l]
    if i + len - 1 <= N and sub(S, i, i + len - 1) == sub(S, from[l], to[l] - 1) then return k(i + len) end
  end
end

function build.balance(node, k)
  local x, y, here = node.x, node.y, "^" .. node.src
  return function(i)
    if byte(S, i) ~= x then return nil end
    if N - i < 200000 then
      local _, e = find(S, here, i)
      return e and k(e + 1)
    end
    local count = 1
    for j = i + 1, N do
      local c = byte(S, j)
      if c == y then
        count = count - 1
        if count == 0 then return k(j + 1) end
      elseif c == x then
        count = count + 1
      end
    end
  end
end

function build.frontier(node, k)
  local has = node.class.has
  return function(i)
    if not has[i > 1 and byte(S, i - 1) or 0] and has[byte(S, i) or 0] then return k(i) end
  end
end

build["class"] = function(node, k)
  local cls, q = node.class, node.q
  local has = cls.has
  if not q then
    return function(i)
      if has[byte(S, i)] then return k(i + 1) end
    end
  elseif q == "?" then
    local rest = node.k0
    return function(i)
      return has[byte(S, i)] and k(i + 1) or rest(i)
    end
  elseif q == "-" then
    local rest = node.k0
    return function(i)
      if not has[byte(S, i)] then return rest(i) end
      repeat
        local r = k(i)
        if r then return r end
        if not has[byte(S, i)] then return nil end
        i = i + 1
      until false
    end
  end
  local rest, run, only_longest = node.k0, "^" .. cls.src .. "*", node.disjoint
  return function(i)
    if not has[byte(S, i)] then
      if q == "+" then return nil end
      return rest(i)
    end
    local j = i + 1 -- one after the longest run
    if cls.any then
      j = N + 1
    elseif (N - i) * cls.ns < C_RUN_NS then
      local _, e = find(S, run, j)
      j = e + 1
    else
      while has[byte(S, j)] do j = j + 1 end
    end
    local least = q == "+" and i + 1 or i
    if only_longest then return k(j) end -- patterns.lua has shown that no shorter run can go on
    for at = j, least, -1 do
      local r = k(at)
      if r then return r end
    end
  end
end

-- attempt(s, i): the byte after the match that begins at i, or nil. Captures are then read by `capture`.
local function compile(nodes)
  local deep = nodes.nested >= MAX_DEPTH - 2
  local k = accept
  for at = #nodes, 1, -1 do
    local node = nodes[at]
    local deeper = node.q or node.op == "open" or node.op == "close" or node.op == "position"
    node.k0 = k
    k = build[node.op](node, deep and deeper and nested(k) or k)
    node.k0 = nil
  end
  return function(s, i)
    S, N, depth = s, #s, 0
    return k(i)
  end
end

-- Capture l of the last match, nil if the pattern never closes it.
local function capture(nodes, l)
  if nodes.closed and not nodes.closed[l] then return nil end
  if nodes.position[l] then return from[l] end
  return sub(S, from[l], to[l] - 1)
end

K.matcher = { parse = parse, compile = compile, capture = capture, class = class }
