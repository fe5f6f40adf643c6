-- Several things at once: orcs.all, orcs.map, orcs.race, orcs.timeout, orcs.nursery, orcs.spawn.
--
-- Each returns only when everything it began has ended. The first error ends the rest and is raised; results come in
-- the order of what was asked, not of what ended first. They nest, and user coroutines work inside and around them.
-- No capability: how much may be under way at a time is for the grants of what the functions call.

local K = ...
K.need("boot/groups.lua")
local type, error, next, rawget, rawlen, rawequal = K.raw.base.type, K.raw.base.error, K.raw.base.next, K.raw.base.rawget, K.raw.base.rawlen, K.raw.base.rawequal
local pack, unpack, huge = K.raw.table.pack, K.raw.table.unpack, K.raw.math.huge
local format = K.raw.string.format
local call, encode, orcs, strands = K.call, K.encode, K.orcs, K.strands

local AT_ONCE = 1000 -- unless the script says otherwise: as many calls as the host takes

local function wrong(n, name, wanted, v, level)
  error(format("bad argument #%d to '%s' (%s expected, got %s)", n, name, wanted, v == nil and "no value" or type(v)), level or 3)
end

-- The items of a list, as it is now.
local function copied(t)
  local items = {}
  for i = 1, rawlen(t) do items[i] = rawget(t, i) end
  return items
end

local function functions(t, name)
  if type(t) ~= "table" then wrong(1, name, "list of functions", t, 4) end
  local items = copied(t)
  for i = 1, #items do
    if type(items[i]) ~= "function" then
      error(format("bad argument #1 to '%s' (item %d: function expected, got %s)", name, i, type(items[i])), 3)
    end
  end
  return items
end

local OPTIONS = {
  concurrency = function(v) return type(v) == "number" and v >= 1 and v == v // 1, "a whole number from 1 on" end,
  collect = function(v) return type(v) == "boolean", "true or false" end,
}

-- The group these options describe; what is wrong with them is an error of the line that called `name`.
local function group(items, opts, n, name)
  if opts ~= nil and type(opts) ~= "table" then wrong(n, name, "table", opts, 4) end
  local made = { items = items, concurrency = AT_ONCE, collect = false }
  for k, v in next, opts or {} do
    local check = OPTIONS[k]
    if not check then
      error(format("bad argument #%d to '%s' (no option %s; there are collect and concurrency)", n, name, K.tostring(k)), 3)
    end
    local fits, wanted = check(v)
    if not fits then error(format("bad argument #%d to '%s' (%s: %s expected)", n, name, k, wanted), 3) end
    made[k] = v
  end
  return made
end

-- {f, g, …} → {what f returned, what g returned, …}
-- With collect=true no error ends the others; each item is {ok=true, value} or {ok=false, error, error_kind, raised}.
function orcs.all(fs, opts)
  return (strands.run(group(functions(fs, "all"), opts, 2, "all")))
end

-- {x, y, …} → {f(x, 1), f(y, 2), …}, `concurrency` at a time
function orcs.map(list, f, opts)
  if type(list) ~= "table" then wrong(1, "map", "list", list) end
  if type(f) ~= "function" then wrong(2, "map", "function", f) end
  local made = group(copied(list), opts, 3, "map")
  made.f = f
  return (strands.run(made))
end

-- What the first of them to end returned, and which one that was; the others are ended.
function orcs.race(fs)
  local items = functions(fs, "race")
  if #items == 0 then error("bad argument #1 to 'race' (one function or more expected)", 2) end
  local results, winner = strands.run({ items = items, concurrency = huge, first = true })
  return results[winner], winner
end

-- What f returns; {ok=false, error_kind="timeout"} when it takes longer, and f is ended.
function orcs.timeout(seconds, f)
  if type(seconds) ~= "number" then wrong(1, "timeout", "number", seconds) end
  if not (seconds >= 0 and seconds < huge) then error("bad argument #1 to 'timeout' (seconds from 0 on expected)", 2) end
  if type(f) ~= "function" then wrong(2, "timeout", "function", f) end
  local args = encode(seconds)
  local results, winner = strands.run({ items = { f, function() call("clock.sleep", args) end }, concurrency = 2, first = true })
  if winner == 1 then return results[1] end
  return {
    ok = false, error = format("it took longer than %.14g s", seconds), error_kind = "timeout", retryable = true,
    detail = { seconds = seconds },
  }
end

-- Calls body(n) and returns what it returns, once all that n:spawn or orcs.spawn began has ended too.
function orcs.nursery(body)
  if type(body) ~= "function" then wrong(1, "nursery", "function", body) end
  local made = { items = { body }, concurrency = 1 }
  made.nursery = made
  made.argument = {}
  function made.argument.spawn(f, ...)
    local args = pack(...)
    if rawequal(f, made.argument) then -- n:spawn(f, …)
      f, args = args[1], pack(unpack(args, 2, args.n))
    end
    if type(f) ~= "function" then wrong(1, "spawn", "function", f) end
    if not strands.spawn(made, f, args) then error("orcs: the nursery has ended; nothing can be spawned in it any more", 2) end
  end
  return (strands.run(made))[1]
end

-- n:spawn of the nursery that is around.
function orcs.spawn(f, ...)
  if type(f) ~= "function" then wrong(1, "spawn", "function", f) end
  local nursery = strands.nursery()
  if not nursery then error("orcs.spawn: only inside orcs.nursery(function(n) … end), which waits for what was spawned", 2) end
  if not strands.spawn(nursery, f, pack(...)) then error("orcs: the nursery has ended; nothing can be spawned in it any more", 2) end
end
