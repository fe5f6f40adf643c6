-- group: module
-- attack: a module whose top level never ends
-- expect: KILLED
-- correct: the deadline applies inside modules
pcall(require, "spins")
while true do pcall(require, "spins") end
