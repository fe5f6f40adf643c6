-- orcs.hash(text, "sha256"): the digest in hexadecimal, computed here, so that the script pays for it.
--
-- Source: FIPS 180-4. About 3 MB a second.

local K = ...
local error, format, rep, pack, unpack = K.raw.base.error, K.raw.string.format, K.raw.string.rep, K.raw.string.pack, K.raw.string.unpack
local sub = K.raw.string.sub
local expect = K.expect

local k, start = {}, {}
do -- the first 32 bits of the fractions of cube and square roots of the first primes
  local function first_32_bits(root) return (root % 1 * 4294967296) // 1 | 0 end
  local n = 2
  while #k < 64 do
    local prime = true
    for d = 2, n - 1 do
      if d * d > n then break end
      if n % d == 0 then prime = false break end
    end
    if prime then
      if #start < 8 then start[#start + 1] = first_32_bits(n ^ 0.5) end
      k[#k + 1] = first_32_bits(n ^ (1 / 3))
    end
    n = n + 1
  end
end

local function sha256(s)
  local h1, h2, h3, h4, h5, h6, h7, h8 = start[1], start[2], start[3], start[4], start[5], start[6], start[7], start[8]
  local whole = #s // 64 * 64
  local tail = sub(s, whole + 1) .. "\128"
  tail = tail .. rep("\0", (56 - #tail) % 64) .. pack(">I8", #s * 8)
  local w = {}
  local function block(text, at)
    w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16] =
      unpack(">I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4", text, at)
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      x, y = x | x << 32, y | y << 32 -- twice the word: a shift is a rotation
      w[i] = w[i - 16] + w[i - 7] + ((x >> 7 ~ x >> 18 ~ (x & 0xffffffff) >> 3) & 0xffffffff)
        + ((y >> 17 ~ y >> 19 ~ (y & 0xffffffff) >> 10) & 0xffffffff) & 0xffffffff
    end
    local a, b, c, d, e, f, g, h = h1, h2, h3, h4, h5, h6, h7, h8
    for i = 1, 64 do
      local ee, aa = e | e << 32, a | a << 32
      local t = h + ((ee >> 6 ~ ee >> 11 ~ ee >> 25) & 0xffffffff) + (e & f ~ ~e & g) + k[i] + w[i]
      local u = ((aa >> 2 ~ aa >> 13 ~ aa >> 22) & 0xffffffff) + (a & b ~ a & c ~ b & c)
      a, b, c, d, e, f, g, h = t + u & 0xffffffff, a, b, c, d + t & 0xffffffff, e, f, g
    end
    h1, h2, h3, h4 = h1 + a & 0xffffffff, h2 + b & 0xffffffff, h3 + c & 0xffffffff, h4 + d & 0xffffffff
    h5, h6, h7, h8 = h5 + e & 0xffffffff, h6 + f & 0xffffffff, h7 + g & 0xffffffff, h8 + h & 0xffffffff
  end
  for at = 1, whole, 64 do block(s, at) end
  for at = 1, #tail, 64 do block(tail, at) end
  return format("%08x%08x%08x%08x%08x%08x%08x%08x", h1, h2, h3, h4, h5, h6, h7, h8)
end

function K.orcs.hash(text, algorithm)
  expect(text, "string", 1, "hash")
  if algorithm ~= nil and algorithm ~= "sha256" then error("bad argument #2 to 'hash' (\"sha256\" expected)", 2) end
  return sha256(text)
end
