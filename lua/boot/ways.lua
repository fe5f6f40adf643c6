-- ways.lua: the long way of find, match and gmatch: which of C and Lua does the work, so that each single C call is short.
--
-- Idea. By the length of the subject, and what analysis.lua knows of the pattern:
--   fast    the whole call takes C < FAST_NS: C, at once
--   C       < SLOW_NS: C, after a look at the clock
--   probed  < SLOW_NS if no run of a class is longer than R, and one linear search has shown that: C
--   stepped one attempt is < SLOW_NS: C, one start at a time, jumping to starts that can succeed
--   Lua     everything else, and whatever can raise an error: matcher.lua
--
-- Does not know: the real speed of the machine, nor that runs of "." are short.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4.

local K = ...
K.need("boot/matcher.lua")
K.need("boot/analysis.lua")
local raw = K.raw
local byte, find, gmatch, sub, rep = raw.string.byte, raw.string.find, raw.string.gmatch, raw.string.sub, raw.string.rep
local floor, type, mtype = raw.math.floor, raw.base.type, raw.math.type
local raise, str, int, look = K.raise, K.str, K.int, K.look
local compile, capture = K.matcher.compile, K.matcher.capture
local known, analyse, value, SLOW_NS = K.analysis.known, K.analysis.analyse, K.analysis.value, K.analysis.SLOW_NS
local PLAIN_STEPS = K.patterns.PLAIN_STEPS
K.guarded()

local force_way = K.force_way -- tests: every match goes this way

local PROBE_BYTES = 500000

-- ---- which way ----------------------------------------------------------------------------------------------------------

-- Is no run of cls in s longer than r?
local function short_runs(s, cls, r)
  local probe = cls.probe
  if not probe or cls.probe_r ~= r then
    local set = sub(cls.src, 1, 1) == "[" and cls.src or "[" .. cls.src .. "]"
    probe = "%f" .. set .. rep(cls.src, r)
    cls.probe, cls.probe_r = probe, r
  end
  return not (find(s, probe) or cls.has[0] and find(s, "^" .. rep(cls.src, r)))
end

-- The longest run that C is quick with, for subjects of up to n bytes; 1 when there is none.
local function longest_run_for(info, n, all)
  local bounds = info.bounds
  if not bounds then
    bounds = analyse(info.nodes, true)
    info.bounds = bounds
  end
  local poly = info.anchored and bounds.attempt or all and bounds.all or bounds.search
  local r = 1024
  while r >= 2 and value(poly, n + 1, r) > SLOW_NS do r = r // 2 end
  return r
end

local last_s, answers, answered = nil, {}, 0 -- of one subject: pattern → whether probed; scripts search the same text again and again

-- For n > info.search: can short runs save C?
local function probed(info, s, n, all)
  if n > PROBE_BYTES then return false end
  if s ~= last_s or answered == 100 then last_s, answers, answered = s, {}, 0 end
  local key = all and info.p or info
  local answer = answers[key]
  if answer == nil then
    local size = 1024 -- the next power of two, so that few are asked for
    while size < n do size = size * 2 end
    local runs = all and "runs_of_all" or "runs"
    local r = info[runs .. "_for"] == size and info[runs] or longest_run_for(info, size, all)
    info[runs .. "_for"], info[runs] = size, r
    answer = r >= 2
    for at = 1, answer and #info.nodes or 0 do
      local node = info.nodes[at]
      if node.class and node.q and node.q ~= "?" and not node.class.any and not short_runs(s, node.class, r) then answer = false end
    end
    answers[key], answered = answer, answered + 1
  end
  return answer
end

-- 1: C's search (shorter than SLOW_NS), 2: C, one start at a time, 3: Lua.
local function way(info, s)
  local n = #s
  if n <= info.fast then return 1 end
  if info.only_lua then return 3 end
  look()
  if n <= info.search or probed(info, s, n, false) then return 1 end
  return n <= info.one and 2 or 3
end

-- ---- one match ----------------------------------------------------------------------------------------------------------

local function captures(nodes, l, last, lenient)
  if l > last then return end
  local c = capture(nodes, l)
  if c == nil and not lenient then raise("unfinished capture") end
  return c, captures(nodes, l + 1, last, lenient)
end

-- First place from i on that can begin a match.
local function candidate(info, s, i)
  local cls = info.jump
  if not cls then return i end
  if info.jump_plain then return (find(s, info.jump_plain, i, true)) end
  if (#s - i) * cls.ns < SLOW_NS then return (find(s, cls.src, i)) end
  for at = i, #s do
    if cls.has[byte(s, at)] then return at end
  end
end

local function longest_run(s, run, i)
  local _, e = find(s, run, i)
  return e
end

local function stepped(info, s, i)
  local n, here, skip = #s, info.here, info.skip
  -- An attempt may cost n / info.one of SLOW_NS, unless runs are read once each and little follows them.
  local looks = not info.linear and n > info.one // 200
  while i and i <= n + 1 do
    if not info.anchored then
      i = candidate(info, s, i)
      if not i then return nil end
    end
    if looks then look() end
    if find(s, here, i) then return find(s, here, i) end
    if info.anchored then return nil end
    i = (skip and longest_run(s, skip, i) or i) + 1
  end
  return nil
end

local function in_lua(info, s, i, need)
  local attempt, nodes, n, skip = info.attempt, info.nodes, #s, #s < 500000 and info.skip
  if not attempt then
    attempt = compile(nodes)
    info.attempt = attempt
  end
  while i and i <= n + 1 do
    if not info.anchored then
      i = candidate(info, s, i)
      if not i then return nil end
    end
    local e = attempt(s, i)
    if e then
      if need < 0 then return i, e - 1, captures(nodes, 1, nodes.ncap, true) end
      return i, e - 1, captures(nodes, 1, need < nodes.ncap and need or nodes.ncap)
    end
    if info.anchored then return nil end
    i = (skip and longest_run(s, skip, i) or i) + 1
  end
  return nil
end

-- First byte, last byte, captures of the first match from i on; of the captures at least the first `need`, or all, with nil for
-- one that is never closed, if `need` is negative.
local function search(info, w, s, i, need)
  if w == 1 then return find(s, info.p, i) end
  if w == 2 and not info.only_lua then return stepped(info, s, i) end
  return in_lua(info, s, i, need)
end

-- The first match, for find and match: most are near, so a few starts are tried before the subject is studied.
local function first(info, s, i)
  if force_way then return search(info, force_way, s, i, 32) end
  local n = #s
  if n > info.search and n <= info.one // 8 and not info.anchored then
    for _ = 1, 6 do
      i = i <= n + 1 and candidate(info, s, i)
      if not i then return nil end
      if find(s, info.here, i) then return find(s, info.here, i) end
      i = (info.skip and longest_run(s, info.skip, i) or i) + 1
    end
  end
  return search(info, way(info, s), s, i, 32)
end

local function position(init, n) -- posrelatI
  if init > 0 then return init end
  if init == 0 or init < -n then return 1 end
  return n + init + 1
end

-- Plain search in pieces of at most four times PLAIN_STEPS.
local function plain_find(s, p, i)
  local n, m = #s, #p
  if n * (m + 80) <= PLAIN_STEPS or m > n then return find(s, p, i, true) end
  local starts = floor(4 * PLAIN_STEPS / (m + 80)) + 1
  while i + m - 1 <= n do
    look()
    local at = find(sub(s, i, i + starts + m - 2), p, 1, true)
    if at then return i + at - 1, i + at + m - 2 end
    i = i + starts
  end
  return nil
end

local function values(info, s, st, e, ...)
  if not st then return nil end
  if info.ncap == 0 then return sub(s, st, e) end
  return ...
end

-- ---- the functions ------------------------------------------------------------------------------------------------------

local long = K.patterns.long

function long.find(s, p, init, plain)
  s, p = str(s, 1, "find"), str(p, 2, "find")
  local i = position(int(init, 3, "find", 1), #s)
  if i > #s + 1 then return nil end
  if plain then return plain_find(s, p, i) end
  local info = known(p)
  if info.plain then return plain_find(s, p, i) end
  return first(info, s, i)
end

function long.match(s, p, init)
  s, p = str(s, 1, "match"), str(p, 2, "match")
  local i = position(int(init, 3, "match", 1), #s)
  if i > #s + 1 then return nil end
  local info = known(p)
  return values(info, s, first(info, s, i))
end

function long.gmatch(s, p, init)
  s, p = str(s, 1, "gmatch"), str(p, 2, "gmatch")
  local i = position(int(init, 3, "gmatch", 1), #s)
  local info = known(p, sub(p, 1, 1) == "^")
  -- C's own iterator crashes when it is called again after an error inside the match (SANDBOX.md §7.1): here none can happen,
  -- for the pattern is well formed and far from C's 200 levels.
  if #s <= info.fast and not info.only_lua then return gmatch(s, p, init) end
  local w = force_way or way(info, s)
  local ncap, n, last = info.ncap, #s, nil
  local function step(st, e, ...)
    if not st then return nil end
    if e == last then return step(search(info, w, s, i + 1, 32)) end
    last, i = e, e + 1
    if ncap == 0 then return sub(s, st, e) end
    return ...
  end
  return function()
    if i > n + 1 then return nil end
    return step(search(info, w, s, i, 32))
  end
end

K.ways = { way = way, probed = probed, search = search }
