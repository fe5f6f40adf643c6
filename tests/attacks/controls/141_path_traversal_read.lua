for _, p in ipairs { "good.lua", "./good.lua", "modules/good.lua", ATTACK.folder .. "/good.lua" } do assert(orcs.read(p).content == "return {v = 1}\n", p) end
return "CONTROL"
