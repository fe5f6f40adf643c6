-- group: module
-- attack: plant a module in the cache through require's own table, or change a shared one
-- expect: SAFE
-- correct: the cache is the host's; a VM shares nothing with another
local m = require("good")
m.v = "changed"
if package or rawget(_G, "loaded") then return "ESCAPED: package" end
return require("good").v == "changed" and require("modules.good").v == 1 and "SAFE" or "ESCAPED: cache"
