-- group: fs
-- attack: hold the host up with a FIFO, a device, a directory, a huge name, a name of odd bytes
-- expect: SAFE
-- correct: only regular files are opened, none of them waits; a name that the system refuses is an answer
local long = ("n"):rep(5000)
for _, p in ipairs{ "fifo", "pipe.lua", "folder.lua", "modules", long, ("a/"):rep(500) .. "b", "\0", "\xff\xfe", "" } do
  for _, f in ipairs{ orcs.read, orcs.grep and function(q) return orcs.grep("x", q) end, orcs.glob and function(q) return orcs.glob("*", q) end } do
    local ok, r = pcall(f, p)
    if ok and r.ok and r.content then return "ESCAPED: read " .. p:sub(1, 20) end
  end
  local ok, r = pcall(orcs.write, p, "x")
  if ok and r.ok and p ~= "\xff\xfe" then return "ESCAPED: wrote " .. p:sub(1, 20) end
end
return "SAFE"
