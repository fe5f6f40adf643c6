-- JSON for scripts, and the values that go with it. No capability: nothing leaves the VM.

local K = ...
local orcs = K.orcs

orcs.json_parse = K.json_parse
orcs.json_encode = K.json_encode
orcs.null = K.values.NULL
orcs.array = K.values.array
