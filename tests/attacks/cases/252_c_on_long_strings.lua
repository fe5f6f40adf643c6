-- group: cpu
-- attack: a loop of C functions, each of which takes milliseconds for a string of 16 MB: few instructions between them, so few hooks
-- expect: KILLED
-- correct: while instructions are slow the hook comes at each of them, so the VM's own limit ends it
local s = (" "):rep(16 << 20)
while true do
  s:upper() s:reverse() s:sub(2) utf8.len(s) utf8.offset(s, -1) tonumber(s) pcall(string.pack, "z", s)
end
