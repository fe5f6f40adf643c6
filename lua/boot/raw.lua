-- Captures Lua's own libraries before anything else runs.
--
-- Every boot file is called as chunk(K), with one private table K that no script ever sees. What follows
-- uses only what is captured here: scripts may replace every name they can reach, and hurt only themselves.

local K = ...

local function copy(lib)
  local t = {}
  for k, v in next, lib do t[k] = v end
  return t
end

K.raw = {
  base = copy(_G),
  string = copy(string),
  table = copy(table),
  math = copy(math),
  coroutine = copy(coroutine),
  utf8 = copy(utf8),
  debug = copy(debug),
  os = copy(os),
}
K.libs = {}

-- The protocol's spare room, in bytes: no value larger than this crosses the border, nor one deeper.
K.limits = { value_bytes = 8 * 1024 * 1024, depth = 64, nodes = 200000, output_bytes = 64 * 1024 }
