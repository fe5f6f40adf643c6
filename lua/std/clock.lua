-- Time: orcs.now() → seconds since 1970, orcs.sleep(seconds). No capability; the host answers.

local K = ...
local error, call, encode, expect, orcs = K.raw.base.error, K.call, K.encode, K.expect, K.orcs
local huge = K.raw.math.huge

function orcs.now() return call("clock.now", "\xc0") end

function orcs.sleep(seconds)
  expect(seconds, "number", 1, "sleep")
  if not (seconds >= 0 and seconds < huge) then
    error("bad argument #1 to 'sleep' (seconds from 0 on expected)", 2)
  end
  call("clock.sleep", (encode(seconds)))
end
