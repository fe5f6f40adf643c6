-- What a step has to say to the host: a MessagePack list of tagged lists. vm/protocol.py reads it.
--
-- The last of them, the statistics, is said by boot/tasks.lua; who says what is not known here.

local K = ...
local pack, concat = K.raw.string.pack, K.raw.table.concat

local out, wanted, size = {}, 0, 0

local wants = {}
K.wants = wants

function wants.int(n) return pack(">Bi8", 0xd3, n) end

function wants.bytes(s) return pack(">Bs4", 0xc6, s) end -- as bytes: an error's text need not be UTF-8

function wants.say(...)
  local want = concat({ ... })
  wanted = wanted + 1
  out[wanted] = want
  size = size + #want
end

-- Bytes said so far in this step.
function wants.said_bytes() return size end

function wants.begin_step() out, wanted, size = {}, 0, 0 end

function wants.end_step() return pack(">BI2", 0xdc, wanted) .. concat(out, "", 1, wanted) end
