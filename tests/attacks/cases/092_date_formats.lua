-- group: cpu
-- attack: os.date with every letter and huge times
-- expect: KILLED
-- correct: each call is short
while true do for c = 65, 122 do pcall(os.date, ("%" .. string.char(c)):rep(60), 2^31) pcall(os.date, "!*t", math.maxinteger) pcall(os.time, { year = 1e9, month = 1e9, day = 1e9 }) end end
