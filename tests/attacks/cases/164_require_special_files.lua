-- group: module
-- attack: require a FIFO, a link out of the folder, a directory, bytecode
-- expect: SAFE
-- correct: regular files beneath the folder, as text
for _, n in ipairs{ "pipe", "link", "out", "out.etc.passwd", "modules", "bytes", "fifo", "folder", "loops" } do
  local ok, m = pcall(require, n)
  if ok then return "ESCAPED: " .. n end
  if tostring(m):find("root:", 1, true) or tostring(m):find("/tmp", 1, true) then return "ESCAPED: " .. m end
end
return "SAFE"
