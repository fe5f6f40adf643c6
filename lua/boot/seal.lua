-- Closes the sandbox: last of the boot files. From here on only step, open and collect lead in.

local K = ...
local real_globals, collectgarbage = K.real_globals, K.raw.base.collectgarbage

K.build_globals()
K.globals.orcs = K.seal(K.orcs, "orcs")
K.empty_real_globals(real_globals)
K.real_globals = nil
collectgarbage()

return K.step, K.open, collectgarbage
