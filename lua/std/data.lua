-- The values that go with JSON (boot/json.lua). No capability: nothing leaves the VM.

local K = ...
local orcs = K.orcs

orcs.null = K.values.NULL
orcs.array = K.values.array
