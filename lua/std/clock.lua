-- Time: orcs.now() → seconds since 1970, orcs.sleep(seconds). No capability; the host answers.

local K = ...
local type, error, call, encode, orcs = K.raw.base.type, K.raw.base.error, K.call, K.encode, K.orcs
local huge = K.raw.math.huge

function orcs.now() return call("clock.now", "\xc0") end

function orcs.sleep(seconds)
  if type(seconds) ~= "number" then
    error("bad argument #1 to 'sleep' (number expected, got " .. (seconds == nil and "no value" or type(seconds)) .. ")", 2)
  end
  if not (seconds >= 0 and seconds < huge) then
    error("bad argument #1 to 'sleep' (seconds from 0 on expected)", 2)
  end
  call("clock.sleep", (encode(seconds)))
end
