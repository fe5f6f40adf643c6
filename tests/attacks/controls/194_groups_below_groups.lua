local function deeper(n) if n == 0 then return orcs.now() end return orcs.all{ function() return deeper(n - 1) end }[1] end
return deeper(300) > 0 and "CONTROL"
