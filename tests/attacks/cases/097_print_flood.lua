-- group: memory
-- attack: print for ever
-- expect: KILLED
-- correct: the cap drops what is over
while true do print(("x"):rep(1000)) print() orcs.output("") orcs.log("error", "\n\n\n") end
