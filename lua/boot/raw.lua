-- Captures Lua's own libraries before anything else runs.
--
-- Every boot file is called as chunk(K), with one private table K that no script ever sees. What follows
-- uses only what is captured here: scripts may replace every name they can reach, and hurt only themselves.

local K = ...

local base = {}
for k, v in next, _G do
  if type(v) ~= "table" then base[k] = v end
end

base.collectgarbage("stop") -- until the sandbox is closed (seal.lua): nearly all that is made here stays

-- The libraries themselves, which nothing else will hold once the real globals are empty (base.lua).
K.raw = {
  base = base,
  string = string,
  table = table,
  math = math,
  coroutine = coroutine,
  utf8 = utf8,
  debug = debug,
  os = os,
}
K.libs = {}

-- The protocol's spare room, in bytes: no value larger than this crosses the border, nor one deeper.
-- `nodes` is for JSON in the VM; what leaves it holds `sent_nodes`, since the host's event loop waits while it is built.
K.limits = { value_bytes = 8 * 1024 * 1024, depth = 64, nodes = 200000, sent_nodes = 70000, output_bytes = 64 * 1024 }
