-- Strands: the coroutines of a task, each of which can sleep on a call of its own. No threads: one runs at a time.
--
-- A task begins as one strand. When it wants several things at once it hands over a group and sleeps until every member of
-- the group, a strand too, has ended (boot/groups.lua): so strands form a tree, and what ends one ends all below it. One step
-- runs each strand that can run; what they then ask of the host leaves together.
--
-- Only the loop in here ends a strand, never one that runs. Its coroutines are closed, innermost first; their <close>
-- variables get CLOSE_S of CPU together and no host; its open calls end in the host too (Drop). No script can catch
-- that. Knows no message and no operation; boot/tasks.lua and boot/calls.lua have those. Idea: trio's nurseries.

local K = ...
local base, kill, calls = K.raw.base, K.kill, K.calls
local type, error, xpcall, pcall = base.type, base.error, base.xpcall, base.pcall
local create, resume, yield, status = K.raw.coroutine.create, K.raw.coroutine.resume, K.raw.coroutine.yield, K.raw.coroutine.status
local close, unpack, min, clock = K.raw.coroutine.close, K.raw.table.unpack, K.raw.math.min, K.raw.os.clock
local HOST, is_task, waiting, resumed = K.HOST, K.tasks, K.waiting, K.resumed
local failure_of = K.failure_of

local CLOSE_S = 0.1       -- CPU seconds for the <close> variables of what is ended together

local CALL, ACK, JOIN, WAIT = calls.CALL, calls.ACK, 3, 4 -- why a strand yields
local want, acknowledge, woken, drop, leave = calls.want, calls.acknowledge, calls.woken, calls.drop, calls.leave

local S = { JOIN = JOIN }
K.strands = S

-- A strand: {task, co, group, nursery, index,  f, args: what it will run
--            waits: the group it sleeps on, came: the failure that group told it,  key, answer: of S.wait
--            prev, next: in its group,  ended}
-- A group:  {items, f, concurrency, collect, first, nursery: what is wanted
--            parent, members, left, at, results, winner, failed, closed}

local current                -- the strand that runs
S.alive = 0                  -- strands that have not ended
local ready, ready_first, ready_last = {}, 1, 0
local stuck = {}             -- strands that wait for another strand (S.wait), oldest first

-- ── one strand ──────────────────────────────────────────────────────────────────────────────────────────

function S.make_ready(strand)
  ready_last = ready_last + 1
  ready[ready_last] = strand
end
local make_ready = S.make_ready

local function proceed(strand, ...)
  current = strand
  local ok, a, b, c, d = resume(strand.co, ...)
  if kill.reason() then return end
  if status(strand.co) == "dead" then
    strand.ended, S.alive = true, S.alive - 1
    if not strand.group then return strand.over(strand.task, ok, a, b) end
    if ok then return S.member_ended(strand, a, b) end
    return S.member_ended(strand, false, a)
  end
  if b == CALL then
    return want(strand, c, d, ready_first > ready_last)
  elseif b == ACK then
    return acknowledge(strand, c, d)
  elseif b == JOIN then
    return S.join(strand, c)
  else
    strand.key = c
    stuck[#stuck + 1] = strand
  end
end

local function start(strand, f, ...)
  strand.co = kill.watch(create(f))
  is_task[strand.co] = true
  return proceed(strand, ...)
end

local function body(f, args)
  return kill.pass(xpcall(f, failure_of, unpack(args, 1, args.n)))
end

-- Begins a task: main(...) in a strand {task, over}; over(task, …) is told what resume said when it has ended.
function S.begin(strand, main, ...)
  S.alive = S.alive + 1
  return start(strand, main, ...)
end

-- The host answered a call, or sent a batch of its events.
function S.wake(call, final, payload)
  local strand = woken(call, final)
  if strand then return proceed(strand, final, payload, call) end
end

-- ── the end of a strand ─────────────────────────────────────────────────────────────────────────────────

local function close_one(co) return kill.pass(close(co)) end

-- Closes a strand's coroutine, and before it those that it had resumed and that wait with it.
local function close_all(strand)
  local chain, n, co = {}, 0, strand.co
  while co do
    n = n + 1
    chain[n], co = co, resumed[co]
  end
  current = strand
  local failure
  for i = n, 1, -1 do
    local _, fine, e = pcall(close_one, chain[i])
    if kill.reason() then return end
    waiting[chain[i]] = nil
    if not fine and not failure then failure = { value = e } end
  end
  return failure
end

-- Ends these strands and all below them. The first error of a <close> variable, if there was one.
function S.finish(roots)
  local doomed, n = roots, #roots
  local i = 1
  while i <= n do
    local group = doomed[i].waits
    if group then
      group.closed = true
      local member = group.members
      while member do
        n = n + 1
        doomed[n], member = member, member.next
      end
    end
    i = i + 1
  end
  local failure
  local deadline = kill.deadline()
  kill.arm_until(min(deadline, clock() + CLOSE_S))
  calls.shut(true)
  for each = n, 1, -1 do
    local strand = doomed[each]
    strand.ended, S.alive = true, S.alive - 1
    drop(strand)
    if strand.co then
      local failed = close_all(strand)
      if kill.reason() then return end -- the calls stay shut: killed_by asks
      failure = failure or failed
    end
  end
  calls.shut(false)
  kill.arm_until(deadline)
  return failure
end

function S.nursery() return current.nursery end

function S.current() return current end

-- The failure that the strand which runs was told by its group: to report an error with the line that raised it.
function S.came() return current and current.came end

-- Sleeps until another strand says S.notify(key). False when that can never be: all others wait as well.
function S.wait(key)
  calls.expect("this cannot wait")
  return yield(HOST, WAIT, key)
end

function S.notify(key)
  local kept = {}
  for i = 1, #stuck do
    local strand = stuck[i]
    if strand.key == key then
      strand.answer = true
      make_ready(strand)
    else
      kept[#kept + 1] = strand
    end
  end
  stuck = kept
end

-- ── the loop ────────────────────────────────────────────────────────────────────────────────────────────

local function run_ready()
  while ready_first <= ready_last do
    local strand = ready[ready_first]
    ready[ready_first] = nil
    ready_first = ready_first + 1
    if kill.over() then return end -- strands too short for a hook would never meet the clock
    if strand.ended then -- nothing: it was ended before its turn
    elseif strand.co then
      local answer = strand.answer
      strand.answer = nil
      proceed(strand, answer)
    else
      local f, args = strand.f, strand.args
      strand.f, strand.args = nil, nil
      start(strand, body, f, args)
    end
  end
end

-- Runs whatever can run, then makes the calls that came of it.
function S.settle()
  if ready_first <= ready_last then run_ready() end
  while stuck[1] and calls.none() and not kill.reason() do
    local all = stuck
    stuck = {}
    for i = 1, #all do
      all[i].answer = false
      make_ready(all[i])
    end
    run_ready()
  end
  if not kill.reason() then leave() end
end

-- The host forgets a task: its strand ends, and all below it.
function S.cancel(strand) S.finish({ strand }) end

-- A killed VM: nothing of it goes on.
function S.forget()
  calls.forget()
  ready, ready_first, ready_last, stuck = {}, 1, 0, {}
end

