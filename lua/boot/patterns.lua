-- patterns.lua: find, match, gmatch and gsub whose single C calls are short.
--
-- Idea. Patterns have no alternation, so their worst case can be read off the list of their items. From right to left, `analyse`
-- keeps for "the rest of the pattern, tried at one place, with at most M bytes left" two polynomials in M:
--   F  ns of an attempt that fails          S  ns a successful attempt spends on what it tries and gives up
-- and A, ns per byte of what the match consumes. A quantifier multiplies F by M only where C really tries again:
--   * it cannot fail behind it (`%s+`, `(.-)$` at the end, `.-%s*$`): nothing is tried again;
--   * the class shares no byte with what must come next (`(%w+)=`, `[^\n]*\n`, `%s*$`): shorter runs fail at their first byte.
-- An unanchored search sums F over all starts. Then, by the length of the subject:
--   fast    the whole call takes C < FAST_NS: C, at once
--   C       < SLOW_NS: C, after `breathe`, which lets the count hook see the clock
--   probed  < SLOW_NS if no run of a class is longer than R, and one linear search has shown that: C
--   stepped one attempt is < SLOW_NS: C, one start at a time, jumping to starts that can succeed
--   Lua     everything else, and whatever can raise an error: matcher.lua
-- Scripts get no C iterator (gmatch can crash C, SANDBOX.md §7.1) and no C frame under their functions (they may yield).
--
-- Does not know: the real speed of the machine (the ns are those of a slow one), nor that runs of "." are short.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4, tests/vm/test_patterns.py (differential against C).

local K = ...
local raw = K.raw
local byte, find, match, gsub, sub, rep = raw.string.byte, raw.string.find, raw.string.match, raw.string.gsub, raw.string.sub, raw.string.rep
local concat, mtype, floor = raw.table.concat, raw.math.type, raw.math.floor
local type, tonumber, tostring = raw.base.type, raw.base.tonumber, raw.base.tostring
local getmetatable, pcall, error, next = raw.base.getmetatable, raw.base.pcall, raw.base.error, raw.base.next

local raise, expected, str, int, breathe = K.raise, K.expected, K.str, K.int, K.breathe
local parse, compile, capture, class = K.matcher.parse, K.matcher.compile, K.matcher.capture, K.matcher.class
K.guarded()

local FAST_NS, SLOW_NS = 4e6, 20e6
local MAX_RESULT = 16 << 20 -- bytes of a string that gsub makes
local PLAIN_STEPS = 1.6e8 -- plain search: #subject * (#needle + 80) of one C call
local CALL_NS = 8 -- one more level or turn of C's match()
local PROBE_BYTES = 500000
local CACHE = 256 -- patterns remembered
local MAX_DEGREE = 8
local HUGE = 1 << 40

-- ---- analysis -----------------------------------------------------------------------------------------------------------

-- A polynomial is {[8 * r + d] = coefficient of M^d * R^r}.
local function plus(p, q, factor)
  local sum = {}
  for e, c in next, p do sum[e] = c end
  for e, c in next, q do sum[e] = (sum[e] or 0) + c * (factor or 1) end
  return sum
end

local function const(ns)
  return { [0] = ns }
end

-- The sum of p over a run: of at most R bytes if `bounded`, else over the M bytes that are left, fewer each time.
local function over_run(p, bounded)
  local sum = {}
  for e, c in next, p do
    local d, r = e & 7, e >> 3
    if d + r >= MAX_DEGREE - 1 then
      sum[7] = 1e300
    elseif bounded then
      sum[e + 8] = c
    else
      sum[e + 1] = (sum[e + 1] or 0) + c / (d + 1)
    end
  end
  return sum
end

local function is_const(p)
  for e in next, p do
    if e ~= 0 then return false end
  end
  return true
end

local function value(p, m, r)
  local total = 0
  for e, c in next, p do total = total + c * m ^ (e & 7) * r ^ (e >> 3) end
  return total
end

-- The longest subject for which p (R = M) is surely below ns.
local function longest(p, ns)
  local terms, best = 0, HUGE
  for _ in next, p do terms = terms + 1 end
  for e, c in next, p do
    local d = (e & 7) + (e >> 3)
    if d == 0 then
      if c * terms > ns then return 0 end
    else
      local n = (ns / terms / c) ^ (1 / d)
      if n < best then best = n end
    end
  end
  return best >= HUGE and HUGE or floor(best) - 2
end

local function meets(x, y)
  return x.a & y.a | x.b & y.b | x.c & y.c | x.d & y.d ~= 0
end

local function union(x, y)
  return { a = x.a | y.a, b = x.b | y.b, c = x.c | y.c, d = x.d | y.d }
end

local NONE, EVERY = { a = 0, b = 0, c = 0, d = 0 }, { a = -1, b = -1, c = -1, d = -1 }

-- The bounds of a parsed pattern. With `bounded`, runs of every class but "." count R. `r` describes the rest from one node on:
-- F, S, A as above; nofail: it always matches; atend: it matches the empty rest of a subject; first: what bytes it can begin
-- with, unless open: then it may match without a look at `first`; reject: ns to fail on another byte.
local function analyse(nodes, bounded)
  local r = { F = {}, S = {}, A = 0, nofail = true, atend = true, first = NONE, open = true, reject = 0 }
  for at = #nodes, 1, -1 do
    local node = nodes[at]
    local op, cls, q = node.op, node.class, node.q
    local F, S, A, nofail = r.F, r.S, r.A, r.nofail
    if op == "class" then
      local ns = cls.ns + CALL_NS
      local disjoint = not r.open and not meets(cls, r.first)
      if not q then
        r = { F = plus(F, const(ns)), S = S, A = A > ns and A or ns, first = cls, reject = ns }
      elseif q == "?" then
        r = {
          F = nofail and {} or disjoint and plus(F, const(ns + r.reject)) or plus(const(ns), F, 2),
          S = plus(S, F), A = A > ns and A or ns,
          nofail = nofail, atend = r.atend, first = union(cls, r.first), open = r.open, reject = ns + r.reject,
        }
      else
        local short = bounded and not cls.any
        local sure = nofail or cls.any and r.atend -- '.' can go on to the end
        local turn
        if disjoint then
          node.disjoint, node.then_short = true, is_const(F)
          turn = const(ns + r.reject)
          F, A = plus(over_run(turn, short), F), A > turn[0] and A or turn[0]
        elseif nofail then
          F, A = {}, A > ns and A or ns
        else
          turn = plus(F, const(ns))
          local all = over_run(turn, short)
          if q == "-" and is_const(turn) then
            A = A > turn[0] and A or turn[0]
          else
            S = plus(S, all)
          end
          F = sure and {} or plus(all, turn)
        end
        if q == "+" then
          r = { F = plus(F, const(ns)), S = S, A = A, first = cls, reject = ns }
        else
          r = {
            F = plus(F, const(sure and 0 or ns)), S = S, A = A, nofail = sure, atend = r.atend,
            first = union(cls, r.first), open = r.open, reject = ns + r.reject,
          }
        end
      end
    elseif op == "end" then
      r = { F = const(4), S = {}, A = 0, atend = true, first = NONE, reject = 4 }
    elseif op == "balance" then
      r = { F = plus(F, { [0] = 8, 4 }), S = S, A = A > 4 and A or 4, first = class(sub(node.src, 3, 3)), reject = 8 }
    elseif op == "frontier" then
      r = { F = plus(F, const(2 * cls.ns)), S = plus(S, const(2 * cls.ns)), A = A, first = cls, reject = 2 * cls.ns }
    elseif op == "again" or op == "never" then
      r = { F = plus(F, { [0] = 8, 0.2 }), S = plus(S, { [0] = 8, 0.2 }), A = A, first = EVERY, open = true, reject = 8 }
    else -- captures
      r = {
        F = nofail and {} or plus(F, const(CALL_NS)), S = plus(S, const(CALL_NS)), A = A,
        nofail = nofail, atend = r.atend, first = r.first, open = r.open, reject = r.reject + CALL_NS,
      }
    end
  end
  local linear = { [0] = 50, r.A }
  local info = { attempt = plus(plus(r.F, r.S), linear), first = r.first, open = r.open }
  info.search = plus(plus(over_run(plus(r.F, const(6)), false), r.S), linear) -- until the first match
  info.all = plus(over_run(plus(plus(r.F, r.S), const(20)), false), linear) -- of every match
  return info
end

-- What is known of a pattern. `literal`: gmatch, where ^ stands for itself.
local function study(p, literal)
  local anchored = not literal and sub(p, 1, 1) == "^"
  local nodes = parse(literal and "%" .. p or p, anchored and 2 or 1)
  local info = {
    p = literal and "%" .. p or p, nodes = nodes, ncap = nodes.ncap, anchored = anchored,
    plain = not find(p, "[%^%$%*%+%?%.%(%[%%%-]"), fast = -1, search = -1, one = -1, fast_all = -1, all = -1,
    only_lua = nodes.bad or nodes.nested > 190,
  }
  if not info.only_lua and (not K.force_way or K.force_way == 2) then
    local bound = analyse(nodes, false)
    local whole = anchored and bound.attempt or bound.search
    local all = anchored and bound.attempt or bound.all
    info.fast, info.search = longest(whole, FAST_NS), longest(whole, SLOW_NS)
    info.fast_all, info.all = longest(all, FAST_NS), longest(all, SLOW_NS)
    info.one = longest(bound.attempt, SLOW_NS)
    info.here = anchored and p or "^" .. info.p
    info.again = false
    for at = 1, #nodes do info.again = info.again or nodes[at].op == "again" or nodes[at].op == "never" end
    local head = nodes[1]
    for at = 1, #nodes do
      head = nodes[at]
      if head.op ~= "open" and head.op ~= "position" then break end
    end
    if head and head.op == "class" and (not head.q or head.q == "+") then
      info.jump = head.class
      local src = head.class.src
      info.jump_plain = (#src == 1 and src ~= "." or find(src, "^%%%p$")) and sub(src, -1) or nil
      if head.q == "+" and head.disjoint and not info.again then info.skip, info.linear = "^" .. head.class.src .. "+", head.then_short end
    end
  end
  info.fast_find = info.plain and PLAIN_STEPS // (4 * (#p + 80)) or info.fast
  if K.force_way then info.fast, info.fast_find, info.fast_all = -1, -1, -1 end -- tests: every match goes one way
  return info
end

local cache, cached, last_p, last_info = {}, 0, nil, nil
local literal_cache = {}

local function known(p, literal)
  local info = (literal and literal_cache or cache)[p]
  if info then return info end
  if p == last_p and not literal then return last_info end
  info = study(p, literal)
  if #p > 512 then
    if not literal then last_p, last_info = p, info end
    return info
  end
  if cached >= CACHE then cache, literal_cache, cached = {}, {}, 0 end
  cached = cached + 1
  if literal then literal_cache[p] = info else cache[p] = info end
  return info
end

-- ---- which way ----------------------------------------------------------------------------------------------------------

local probe_s, probe_src, probe_r, probe_answer

-- Is no run of cls in s longer than r?
local function short_runs(s, cls, r)
  if probe_s == s and probe_src == cls.src and probe_r == r then return probe_answer end
  local set = sub(cls.src, 1, 1) == "[" and cls.src or "[" .. cls.src .. "]"
  local run = rep(cls.src, r)
  local answer = not (find(s, "%f" .. set .. run) or cls.has[0] and find(s, "^" .. run))
  probe_s, probe_src, probe_r, probe_answer = #s < 300000 and s or nil, cls.src, r, answer
  return answer
end

-- For n > info.search: can short runs save C?
local function probed(info, s, n, all)
  if n > PROBE_BYTES then return false end
  local bounds = info.bounds
  if not bounds then
    bounds = analyse(info.nodes, true)
    info.bounds = bounds
  end
  local poly = info.anchored and bounds.attempt or all and bounds.all or bounds.search
  local r = 1024
  while r >= 2 and value(poly, n + 1, r) > SLOW_NS do r = r // 2 end
  if r < 2 then return false end
  for at = 1, #info.nodes do
    local node = info.nodes[at]
    if node.class and node.q and node.q ~= "?" and not node.class.any and not short_runs(s, node.class, r) then return false end
  end
  return true
end

-- 1: C's search (shorter than SLOW_NS), 2: C, one start at a time, 3: Lua.
local function way(info, s)
  local n = #s
  if n <= info.fast then return 1 end
  if info.only_lua then return 3 end
  breathe()
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
  -- An attempt may cost this part of SLOW_NS, unless runs are read once each and little follows them.
  local breath = info.linear and 0 or floor(1000 * n / info.one)
  while i and i <= n + 1 do
    if not info.anchored then
      i = candidate(info, s, i)
      if not i then return nil end
    end
    if breath > 4 then breathe(breath) end
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
  if K.force_way then return search(info, K.force_way, s, i, 32) end
  local n = #s
  if n > info.fast and n <= info.one // 8 and not info.anchored then
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

-- Plain search in pieces of at most PLAIN_STEPS.
local function plain_find(s, p, i)
  local n, m = #s, #p
  if n * (m + 80) <= PLAIN_STEPS / 4 or m > n then return find(s, p, i, true) end
  local starts = floor(PLAIN_STEPS / (m + 80)) + 1
  while i + m - 1 <= n do
    breathe()
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

local P = {}

function P.find(s, p, init, plain)
  if plain then
    if type(s) == "string" and type(p) == "string" and #s * (#p + 80) <= PLAIN_STEPS / 4 and (init == 1 or mtype(init) == "integer") then
      return find(s, p, init, true)
    end
  else
    local info = cache[p]
    if info and type(s) == "string" and #s <= info.fast_find and (init == nil or mtype(init) == "integer") then
      return find(s, p, init)
    end
  end
  s, p = str(s, 1, "find"), str(p, 2, "find")
  local i = position(int(init, 3, "find", 1), #s)
  if i > #s + 1 then return nil end
  if plain then return plain_find(s, p, i) end
  local info = known(p)
  if info.plain then return plain_find(s, p, i) end
  return first(info, s, i)
end

function P.match(s, p, init)
  local info = cache[p]
  if info and type(s) == "string" and #s <= info.fast and (init == nil or mtype(init) == "integer") then
    return match(s, p, init)
  end
  s, p = str(s, 1, "match"), str(p, 2, "match")
  local i = position(int(init, 3, "match", 1), #s)
  if i > #s + 1 then return nil end
  info = known(p)
  return values(info, s, first(info, s, i))
end

function P.gmatch(s, p, init)
  s, p = str(s, 1, "gmatch"), str(p, 2, "gmatch")
  local i = position(int(init, 3, "gmatch", 1), #s)
  local info = known(p, sub(p, 1, 1) == "^")
  local w = K.force_way or way(info, s)
  local pat, whole, last = info.p, info.ncap == 0, nil
  local function step(st, e, ...)
    if not st then return nil end
    if e == last then return step(search(info, w, s, i + 1, 32)) end -- the empty match where the last one ended
    last, i = e, e + 1
    if whole then return sub(s, st, e) end
    return ...
  end
  local n = #s
  if w == 1 then
    return function()
      if i > n + 1 then return nil end
      return step(find(s, pat, i))
    end
  end
  return function()
    if i > n + 1 then return nil end
    return step(search(info, w, s, i, 32))
  end
end

-- Replacement strings: {parts, max = highest capture used, refs = how many}; a part is a string or the number of a capture.
local templates, template_count = {}, 0

local function template(text)
  local t = templates[text]
  if t then return t end
  t = { max = 0, refs = 0 }
  local i = 1
  while true do
    local at = find(text, "%", i, true)
    if not at then break end
    if at > i then t[#t + 1] = sub(text, i, at - 1) end
    local c = sub(text, at + 1, at + 1)
    local l = find(c, "^%d") and tonumber(c)
    if l then
      t[#t + 1] = l
      t.max, t.refs = l > t.max and l or t.max, t.refs + 1
    elseif c == "%" then
      t[#t + 1] = "%"
    else
      t.max, t[#t + 1] = 99, false -- "invalid use", if it comes to that
      break
    end
    i = at + 2
  end
  if i <= #text then t[#t + 1] = sub(text, i) end
  if #text <= 64 then
    if template_count >= CACHE then templates, template_count = {}, 0 end
    templates[text], template_count = t, template_count + 1
  end
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

local function replace_all(info, w, s, kind, repl, t, max, p_anchored)
  local out, filled, count, last, size, copied = {}, 0, 0, nil, 0, 1
  local i, n, need = 1, #s, t and -1 or kind == "table" and 1 or 32
  local ncap = info.ncap
  local function one(st, e, ...)
    if not st then return false end
    if e == last then -- the empty match where the last one ended
      if i > n then return false end
      return one(search(info, w, s, i + 1, need))
    end
    last, i, count = e, e + 1, count + 1
    local v
    if t then
      v = expand(t, info, sub(s, st, e), t.max > 0 and { ... })
    elseif kind == "function" then
      if ncap > 0 then
        v = repl(...)
      else
        v = repl(sub(s, st, e))
      end
    elseif ncap > 0 then
      v = repl[(...)]
    else
      v = repl[sub(s, st, e)]
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
    return not p_anchored
  end
  if w == 1 then
    local pat = info.p
    while count < max and i <= n + 1 and one(find(s, pat, i)) do end
  else
    while count < max and i <= n + 1 and one(search(info, w, s, i, need)) do end
  end
  if filled == 0 then return s, count end
  if size + n - copied + 1 > MAX_RESULT then raise("resulting string too large") end
  out[filled + 1] = sub(s, copied)
  return concat(out), count
end

function P.gsub(s, p, repl, max)
  local info, t = cache[p], templates[repl]
  if info and t and type(s) == "string" and (max == nil or mtype(max) == "integer") and #s <= info.fast_all
    and t.max <= (info.ncap == 0 and 1 or info.ncap) and (#s + 1) * (#repl * (t.refs > 0 and 12 or 1) + 1) <= MAX_RESULT then
    return gsub(s, p, repl, max)
  end
  s, p = str(s, 1, "gsub"), str(p, 2, "gsub")
  local kind = type(repl)
  max = int(max, 4, "gsub", #s + 1)
  if kind == "number" then
    kind, repl = "string", tostring(repl)
  elseif kind ~= "string" and kind ~= "table" and kind ~= "function" then
    expected(3, "gsub", "string/function/table", repl)
  end
  info = known(p)
  t = kind == "string" and template(repl) or nil
  local w = K.force_way
  if not w then
    if kind == "table" and not info.only_lua and #s <= info.fast_all and getmetatable(repl) == nil then
      local ok, result, count = pcall(gsub, s, p, repl, max) -- nothing of the script's runs in it
      if not ok then
        if result == "not enough memory" then error(result, 0) end
        raise(result)
      end
      if #result > MAX_RESULT then raise("resulting string too large") end
      return result, count
    end
    if t and not info.only_lua and t.max <= (info.ncap == 0 and 1 or info.ncap)
      and (#s + 1) * (#repl * (t.refs > 0 and 12 or 1) + 1) <= MAX_RESULT then
      if #s > info.fast_all then breathe() end
      if #s <= info.all or probed(info, s, #s, true) then return gsub(s, p, repl, max) end
    end
    w = way(info, s)
  end
  return replace_all(info, w, s, kind, repl, t, max, info.anchored)
end

K.patterns = P
