-- patterns.lua: find, match, gmatch and gsub as scripts see them: the short way, straight to C.
--
-- Idea. A pattern that was studied once (analysis.lua) has known lengths up to which C is quick. A call within them goes to C
-- from here; every other, the first of a pattern too, takes the long way (ways.lua, substitution.lua), which is loaded with
-- the first of them. A script that uses plain strings never pays for patterns.
--
-- Does not know: patterns. Scripts get C's iterator only where it cannot crash (SANDBOX.md §7.1), and never a C frame under
-- their functions (they may yield).
--
-- Sources: lstrlib.c of Lua 5.4.8 (behaviour only), SANDBOX.md §4, tests/vm/test_patterns.py (differential against C).

local K = ...
local raw = K.raw
local find, match, gsub = raw.string.find, raw.string.match, raw.string.gsub
local type, next, mtype = raw.base.type, raw.base.next, raw.math.type
K.guarded()

local MAX_RESULT = 16 << 20 -- bytes of a string that gsub makes
local PLAIN_STEPS = 4e7 -- plain search by C without a look at the clock: #subject * (#needle + 80)
local CACHE = 256 -- entries of a memory

-- A table that forgets everything when it is full: remember(key, value), and the table.
local function memory()
  local known, count = {}, 0
  return known, function(key, value)
    if count >= CACHE then
      for k in next, known do known[k] = nil end
      count = 0
    end
    known[key], count = value, count + 1
  end
end

local patterns, remember_pattern = memory() -- pattern → {fast=, fast_find=, fast_all=, ncap=, …}
local templates, remember_template = memory() -- replacement → {max=, refs=, …}
local needles, remember_needle = memory() -- needle of a plain search → the longest subject that C searches in no time

K.memory = memory
K.patterns = {
  known = patterns, remember = remember_pattern, templates = templates, remember_template = remember_template,
  MAX_RESULT = MAX_RESULT, PLAIN_STEPS = PLAIN_STEPS,
}

local long = {} -- the long way of each
K.patterns.long = long
for _, name in next, { "find", "match", "gmatch" } do K.later(long, name, "boot/ways.lua") end
K.later(long, "gsub", "boot/substitution.lua")

local function all(...) -- keeps the caller's frame, which complaints ask for its name
  return ...
end

local P = {}

function P.find(s, p, init, plain)
  if plain then
    local most = needles[p]
    if most and type(s) == "string" and #s <= most and (init == 1 or init == nil or mtype(init) == "integer") then
      return find(s, p, init, true)
    end
    if not most and type(p) == "string" and #p <= 512 then remember_needle(p, PLAIN_STEPS // (#p + 80)) end
  else
    local info = patterns[p]
    if info and type(s) == "string" and #s <= info.fast_find and (init == nil or mtype(init) == "integer") then
      return find(s, p, init)
    end
  end
  return all(long.find(s, p, init, plain))
end

function P.match(s, p, init)
  local info = patterns[p]
  if info and type(s) == "string" and #s <= info.fast and (init == nil or mtype(init) == "integer") then
    return match(s, p, init)
  end
  return all(long.match(s, p, init))
end

function P.gmatch(s, p, init)
  return all(long.gmatch(s, p, init))
end

function P.gsub(s, p, repl, max)
  local info, t = patterns[p], templates[repl]
  if info and t and type(s) == "string" and (max == nil or mtype(max) == "integer") and #s <= info.fast_all
    and t.max <= (info.ncap == 0 and 1 or info.ncap) and (#s + 1) * (#repl * (t.refs > 0 and 12 or 1) + 1) <= MAX_RESULT then
    return gsub(s, p, repl, max)
  end
  return all(long.gsub(s, p, repl, max))
end

K.patterns.lib = P
