-- parts.lua: trusted files that many scripts never use, loaded when they are first needed.
--
-- A VM in a shared worker costs what is in it at boot. K.need asks the host for the file's code, as it asked for every boot
-- file: made by the host from its own text, held by nobody, run with K. The host gives it only when it fits under the memory
-- limit (a push onto a full heap would abort the process), and a script can neither see the code nor name a file.

local K = ...
local load, type, collectgarbage, error = K.raw.base.load, K.raw.base.type, K.raw.base.collectgarbage, K.raw.base.error
local setmetatable, rawget = K.raw.base.setmetatable, K.raw.base.rawget
local fetch = K.fetch
local there = {}

local LOADING = { -- a file that does not end (the stack was full: a script may go on) is loaded again when it is next needed
  __close = function(mark, e)
    if e ~= nil then there[mark.file] = nil end
  end,
}

-- Runs the file unless it ran already.
function K.need(file)
  if there[file] then return end
  local code = fetch(file)
  if type(code) ~= "string" then -- no room: a collection may make some
    collectgarbage()
    code = fetch(file)
    if type(code) ~= "string" then error("not enough memory", 0) end
  end
  local mark <close> = setmetatable({ file = file }, LOADING)
  there[file] = true
  load(code, "=[luahost]", "b")(K)
end

-- t[name], until it is called, is a promise of what `file` will put there. It stays the same function: scripts may hold it.
function K.later(t, name, file)
  local real
  t[name] = function(...)
    if not real then
      K.need(file)
      real = t[name]
    end
    return real(...)
  end
end

-- A library that is empty until it is first looked into: then `file` fills it, and at its end takes the metatable away.
function K.promised(file)
  return setmetatable({}, {
    __index = function(lib, name)
      K.need(file)
      return rawget(lib, name)
    end,
  })
end
