local ran = {}
local function slow() orcs.sleep(0.01) ran[#ran + 1] = "went on" end
orcs.all{ slow, slow, function() pcall(slow) end }
return #ran == 3 and "CONTROL"
