-- Calls to the host: how a strand asks for one and sleeps, which are open, and which wait in line to be made.
--
-- A call is a yield that boot/strands.lua takes from the strand; it leaves the VM as a want of the step. A streaming
-- answer comes in batches, each acknowledged before the next. Knows no operation, and nothing of what runs when.

local K = ...
local base, wants = K.raw.base, K.wants
local error, next = base.error, base.next
local yield, isyieldable = K.raw.coroutine.yield, K.raw.coroutine.isyieldable
local HOST, decode, limits = K.HOST, K.decode, K.limits
local say, int, bytes, said_bytes = wants.say, wants.int, wants.bytes, wants.said_bytes

local MAX_CALLS = 1000         -- open at a time (vm/protocol.py has the same); further ones wait in line
local TOGETHER_BYTES = 256 * 1024 -- of the wants of a step, unless one call alone has more: the host must not look at too much at once

local CALL, ACK = 1, 2 -- why a strand yields

local C = { CALL = CALL, ACK = ACK }
K.calls = C

-- Of a strand this file keeps
--   call      the id of the call it sleeps on        held   ids of streams whose batch it works on
--   op, args  the call it wants to make
local sleeping = {}                          -- call id → strand that sleeps on it
local open, last_call = 0, 0
local line, line_first, line_last = {}, 1, 0 -- strands whose call waits to be made
local shut = false                           -- while strands are being ended there is no host

-- ── inside a strand ─────────────────────────────────────────────────────────────────────────────────────

-- An error of the function that called, when `what` cannot be done here and now.
function C.expect(what)
  if shut then error("orcs: " .. what .. " while what runs is being ended", 4) end
  if not isyieldable() then
    error("orcs: " .. what .. " here: inside __tostring, __gc, a message handler or another function "
      .. "that Lua calls from C; call it before and pass the result in", 4)
  end
end
local expect = C.expect

local before, after -- what is asked before a call, and told of it afterwards (std/hooks.lua); mostly nothing

function K.hooked(b, a) before, after = b, a end

-- Calls operation `op` with encoded arguments and returns the host's reply, decoded. `on_events` is given
-- each batch of a streaming answer's events and says whether to go on.
function K.call(op, args, on_events)
  if shut or not isyieldable() then expect("the host cannot be called") end
  if before then
    local no = before(op, args)
    if no then return no end
  end
  local final, payload, id = yield(HOST, CALL, op, args)
  while not final do
    local ok, go_on = K.pcall(on_events, decode(payload))
    if not ok then
      repeat final, payload = yield(HOST, ACK, id, false) until final
      error(go_on, 0)
    end
    final, payload = yield(HOST, ACK, id, go_on ~= false)
  end
  local result = decode(payload)
  if after then after(op, result) end
  return result
end

-- ── for the strands ─────────────────────────────────────────────────────────────────────────────────────

local function ask(strand, op, args)
  last_call, open = last_call + 1, open + 1
  strand.call = last_call
  sleeping[last_call] = strand
  say("\x95\x00", int(strand.task), int(last_call), bytes(op), args)
end

-- The strand wants a call. `alone`: nothing else runs in this step, so nothing can end the strand before the call leaves.
function C.want(strand, op, args, alone)
  if alone and said_bytes() == 0 and line_first > line_last and open < MAX_CALLS then return ask(strand, op, args) end
  line_last = line_last + 1
  line[line_last], strand.op, strand.args = strand, op, args
end

-- The strand has worked on a batch of a stream, and sleeps until the next.
function C.acknowledge(strand, id, go_on)
  strand.call, strand.held[id] = id, nil
  sleeping[id] = strand
  say("\x93\x01", int(id), go_on and "\xc3" or "\xc2")
end

-- The strand that sleeps on this call, which has its reply now, or a batch of it; nil when it was ended meanwhile.
function C.woken(id, final)
  local strand = sleeping[id]
  if not strand then return end
  sleeping[id], strand.call = nil, nil
  if final then
    open = open - 1
  else
    strand.held = strand.held or {}
    strand.held[id] = true
  end
  return strand
end

-- The strand is ended: so are its calls.
function C.drop(strand)
  local id, held = strand.call, strand.held
  if id then
    sleeping[id], open = nil, open - 1
    say("\x92\x05", int(id))
  end
  for each in next, held or {} do
    open = open - 1
    say("\x92\x05", int(each))
  end
end

-- Makes the calls that wait in line: as many as may be open, and fit in one step. The host asks for the rest.
function C.leave()
  while line_first <= line_last and open < MAX_CALLS do
    local strand = line[line_first]
    if not strand.ended then
      if said_bytes() > 0 and said_bytes() + #strand.args > TOGETHER_BYTES then return say("\x91\x06") end
      ask(strand, strand.op, strand.args)
      strand.args = nil
    end
    line[line_first] = nil
    line_first = line_first + 1
  end
end

-- Whether no call is open or wanted: then nothing will come from the host.
function C.none() return open == 0 and line_first > line_last end

function C.shut(now) shut = now end

function C.is_shut() return shut end

function C.forget()
  sleeping, line, line_first, line_last = {}, {}, 1, 0
end
