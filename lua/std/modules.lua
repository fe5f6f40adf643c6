-- require: modules beside the script, read by the host, compiled as text, each run once in this VM.
--
-- Written in Lua so that a module's top level may call the host. The cache is ours: a script cannot plant a
-- module under another's name. A strand that wants what another is just loading waits for it.

local K = ...
local error, setmetatable, expect = K.raw.base.error, K.raw.base.setmetatable, K.expect
local call, encode, compile, find, strands = K.call, K.encode, K.compile, K.raw.string.find, K.strands

local loaded = {}
local loading = {} -- name → {name, strand} of who runs it
local LOADING = {
  __close = function(mark) -- also when the strand is ended meanwhile
    loading[mark.name] = nil
    strands.notify(mark)
  end,
}

function K.require(name)
  expect(name, "string", 1, "require")
  if loaded[name] ~= nil then return loaded[name] end
  if #name > 200 or not find(name, "^[%w_-]+%f[^%w_-]") or find(name, "[^%w_.-]") or find(name, "..", 1, true) or find(name, "%.$") then
    error("module name not allowed: use letters, digits, _ and - with single dots between", 2)
  end
  local other = loading[name]
  while other do
    if other.strand == strands.current() or not strands.wait(other) then
      error("module '" .. name .. "' requires itself, directly or through others", 2)
    end
    if loaded[name] ~= nil then return loaded[name] end
    other = loading[name]
  end
  local mark <close> = setmetatable({ name = name, strand = strands.current() }, LOADING)
  loading[name] = mark
  local found = call("module", (encode({ name = name })))
  if not found.ok then error("module '" .. name .. "' not found: " .. found.error, 2) end
  local f, message = compile(found.source, found.name)
  if not f then error("error loading module '" .. name .. "': " .. message, 2) end
  local result = f(name)
  if result == nil then result = true end
  loaded[name] = result
  return result
end
