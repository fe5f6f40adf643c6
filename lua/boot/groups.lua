-- Groups: several strands that one strand waits for; nursery rules. Loaded with the first of them (boot/strands.lua).
--
-- The strand that runs a group sleeps until every member has ended. The first error ends the other members, unless all
-- results are collected; each end makes room for the next item. Knows no message, no operation and no coroutine.

local K = ...
local base, strands, kill, calls = K.raw.base, K.strands, K.kill, K.calls
local type, error, min, yield = base.type, base.error, K.raw.math.min, K.raw.coroutine.yield
local HOST, JOIN, make_ready, finish = K.HOST, strands.JOIN, strands.make_ready, strands.finish

local MAX_STRANDS = 10000 -- that have not ended

local function add(group, index, f, args)
  local strand = {
    task = group.parent.task, group = group, nursery = group.nursery, index = index, f = f, args = args, prev = group.last,
  }
  if group.last then group.last.next = strand else group.members = strand end
  group.last = strand
  group.left, strands.alive = group.left + 1, strands.alive + 1
  make_ready(strand)
end

-- Starts what the group still has to do and may have at a time.
local function fill(group)
  while group.at < #group.items and group.left < group.concurrency do
    local i = group.at + 1
    group.at = i
    local item = group.items[i]
    if group.f then add(group, i, group.f, { item, i, n = 2 }) else add(group, i, item, { group.argument, n = 1 }) end
  end
end

local function over(group)
  local parent = group.parent
  group.closed, parent.waits = true, nil
  make_ready(parent)
end

function strands.join(strand, group)
  group.parent, group.left, group.at, group.results = strand, 0, 0, {}
  group.nursery = group.nursery or strand.nursery
  strand.waits = group
  if strands.alive + min(group.concurrency, #group.items) > MAX_STRANDS then
    group.failed = { value = strands.too_many() }
  else
    fill(group)
  end
  if group.left == 0 then return over(group) end
end

local function stop(group)
  local roots, n, member = {}, 0, group.members
  while member do
    n = n + 1
    roots[n], member = member, member.next
  end
  group.closed, group.members, group.last, group.left = true, nil, nil, 0
  local failure = finish(roots)
  if kill.reason() then return end
  group.failed = group.failed or failure
  return over(group)
end

function strands.member_ended(strand, fine, value)
  local group = strand.group
  if strand.prev then strand.prev.next = strand.next else group.members = strand.next end
  if strand.next then strand.next.prev = strand.prev else group.last = strand.prev end
  group.left = group.left - 1
  if not fine then
    if type(value) ~= "table" then value = { value = value, message = value, error_kind = "" } end -- raised by Lua in the handler
    if not group.collect then
      group.failed = value
      return stop(group)
    end
    value = {
      ok = false, error = value.message, error_kind = value.error_kind ~= "" and value.error_kind or "script_error", raised = value.value,
    }
  elseif group.collect then
    value = { ok = true, value = value }
  end
  if strand.index then group.results[strand.index] = value end
  if group.first then
    group.winner = strand.index
    return stop(group)
  end
  fill(group)
  if group.left == 0 then return over(group) end
end

-- Runs a group and returns its results, a list by index, and the index of the first to end where `first` says that
-- one is enough. Raises what the first of them raised. Called by a running strand, which sleeps meanwhile.
--   items        what to do: functions, each called with `argument`; or anything, and f(item, index) is called
--   concurrency  how many at a time
function strands.run(group)
  calls.expect("this cannot wait")
  yield(HOST, JOIN, group)
  if group.failed then
    strands.current().came = group.failed
    error(group.failed.value, 0)
  end
  return group.results, group.winner
end

function strands.too_many()
  return "orcs: more than " .. MAX_STRANDS .. " functions at a time; orcs.map(list, f, {concurrency = n}) takes any number"
end

-- One more member for a group that runs; false when it has ended.
function strands.spawn(group, f, args)
  if group.closed or not group.parent then return false end
  if strands.alive >= MAX_STRANDS then error(strands.too_many(), 3) end
  add(group, nil, f, args)
  return true
end
