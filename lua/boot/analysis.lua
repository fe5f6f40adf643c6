-- analysis.lua: how long C can take for a pattern, as a function of the subject's length.
--
-- Idea. Patterns have no alternation, so their worst case can be read off the list of their items. From right to left, `analyse`
-- keeps for "the rest of the pattern, tried at one place, with at most M bytes left" two polynomials in M:
--   F  ns of an attempt that fails          S  ns a successful attempt spends on what it tries and gives up
-- and A, ns per byte of what the match consumes. A quantifier multiplies F by M only where C really tries again:
--   * it cannot fail behind it (`%s+`, `(.-)$` at the end, `.-%s*$`): nothing is tried again;
--   * the class shares no byte with what must come next (`(%w+)=`, `[^\n]*\n`, `%s*$`): shorter runs fail at their first byte.
-- An unanchored search sums F over all starts. `known` remembers, for each pattern, the lengths that follow from it.
--
-- Does not know: the real speed of the machine (the ns are those of a slow one), nor that runs of "." are short.
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4.

local K = ...
local raw = K.raw
local find, sub, floor, next = raw.string.find, raw.string.sub, raw.math.floor, raw.base.next
local parse, class = K.matcher.parse, K.matcher.class

local force_way = K.force_way -- tests: every match goes this way
local FAST_NS, SLOW_NS = 4e6, 20e6
local PLAIN_STEPS = K.patterns.PLAIN_STEPS
local CALL_NS = 8 -- one more level or turn of C's match()
local MAX_DEGREE = 8
local HUGE = 1 << 40

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
    only_lua = nodes.bad or nodes.nested > 190, refs = nodes.ncap == 0 and 1 or nodes.ncap, walk = -1,
  }
  if not info.only_lua and (not force_way or force_way == 2) then
    local bound = analyse(nodes, false)
    local whole = anchored and bound.attempt or bound.search
    local all = anchored and bound.attempt or bound.all
    info.fast, info.search = longest(whole, FAST_NS), longest(whole, SLOW_NS)
    info.fast_all, info.all = longest(all, FAST_NS), longest(all, SLOW_NS)
    info.one = longest(bound.attempt, SLOW_NS)
    info.here = anchored and p or "^" .. info.p
    info.again = false
    for at = 1, #nodes do info.again = info.again or nodes[at].op == "again" or nodes[at].op == "never" end
    if not anchored then
      info.walk = info.fast
      local last = nodes[#nodes]
      if p ~= "" and info.ncap <= 2 and not info.again and nodes.nested < 150 and not (last and last.op == "end") then
        info.whole = info.ncap == 0 and "()(" .. p .. ")()" or "()" .. p .. "()"
      end
    end
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
  info.fast_find = info.plain and PLAIN_STEPS // (#p + 80) or info.fast
  if force_way then info.fast, info.fast_find, info.fast_all, info.walk = -1, -1, -1, -1 end
  return info
end

local cache, remember = K.patterns.known, K.patterns.remember
local literal_cache, remember_literal = K.memory()
local last_p, last_info -- the last long one

local function known(p, literal)
  local info = (literal and literal_cache or cache)[p]
  if info then return info end
  if p == last_p and not literal then return last_info end
  info = study(p, literal)
  if #p <= 512 then
    (literal and remember_literal or remember)(p, info)
  elseif not literal then
    last_p, last_info = p, info
  end
  return info
end

K.analysis = { known = known, analyse = analyse, value = value, SLOW_NS = SLOW_NS }
