-- Closes the sandbox: last of the boot files. From here on only step, open and collect lead in.

local K = ...
local real_globals, collectgarbage = K.real_globals, K.raw.base.collectgarbage

K.build_globals()
K.globals.orcs = K.seal(K.raw.base.setmetatable(K.orcs, {
  __index = function(_, name)
    local field = K.raw.base.rawget(K.fields, name)
    if field then return field() end
    local file = K.rare(name)
    if file then
      K.need(file)
      return K.raw.base.rawget(K.orcs, name)
    end
  end,
}), "orcs")
K.empty_real_globals(real_globals)
K.real_globals, K.build_globals, K.empty_real_globals = nil, nil, nil -- what is not needed again
collectgarbage("restart")
collectgarbage()

return K.step, K.open, collectgarbage
