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
K.need("boot/complaints.lua")
local raw = K.raw
local find, match, gmatch, gsub = raw.string.find, raw.string.match, raw.string.gmatch, raw.string.gsub
local type, next, getmetatable = raw.base.type, raw.base.next, raw.base.getmetatable
K.guarded()

local MAX_RESULT <const> = 16 << 20 -- bytes of a string that gsub makes
local PLAIN_STEPS <const> = 4e7 -- plain search by C without a look at the clock: #subject * (#needle + 80)
local CACHE <const> = 256 -- entries of a memory

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

local patterns, remember_pattern = memory() -- pattern → {fast=, fast_find=, fast_all=, walk=, refs=, …}
local templates, remember_template = memory() -- replacement → {max=, most=, …}
local needles, remember_needle = memory() -- needle of a plain search → the longest subject that C searches in no time

K.memory = memory
K.patterns = {
  known = patterns, remember = remember_pattern, templates = templates, remember_template = remember_template,
  MAX_RESULT = MAX_RESULT, PLAIN_STEPS = PLAIN_STEPS,
}

local long = {} -- the long way of each
K.patterns.long = long
for _, name in next, { "find", "match", "gmatch" } do K.later(long, name, "boot/ways.lua") end
for _, name in next, { "gsub", "gsub_by" } do K.later(long, name, "boot/substitution.lua") end

local function all(...) -- keeps the caller's frame, which complaints ask for its name
  return ...
end

local P = {}

-- `s .. ""` is s, or the text of a number, and costs half of a call of `type`; of anything else it fails, and complaints.lua has
-- the words.

function P.find(s, p, init, plain)
  if plain then
    local most = needles[p]
    if most and #(s .. "") <= most then return find(s, p, init, true) end
    if not most and type(p) == "string" and #p <= 512 then remember_needle(p, PLAIN_STEPS // (#p + 80)) end
  else
    local info = patterns[p]
    if info and #(s .. "") <= info.fast_find then return find(s, p, init) end
  end
  return all(long.find(s, p, init, plain))
end

function P.match(s, p, init)
  local info = patterns[p]
  if info and #(s .. "") <= info.fast then return match(s, p, init) end
  return all(long.match(s, p, init))
end

function P.gmatch(s, p, init)
  local info = patterns[p]
  if info and #(s .. "") <= info.walk then return gmatch(s, p, init) end
  return all(long.gmatch(s, p, init))
end

function P.gsub(s, p, repl, max)
  local info = patterns[p]
  if info and #(s .. "") <= info.fast_all then
    local t = templates[repl]
    if t then
      if t.max <= info.refs and #s <= t.most then return gsub(s, p, repl, max) end
    elseif type(repl) == "function" then
      if info.whole and max == nil then return all(long.gsub_by(s .. "", info, repl)) end
    elseif type(repl) == "table" and getmetatable(repl) == nil then
      local result, count = gsub(s, p, repl, max) -- nothing of the script's runs in it
      if #result <= MAX_RESULT then return result, count end
    end
  end
  return all(long.gsub(s, p, repl, max))
end

K.patterns.lib = P
