-- group: fs
-- attack: climb out, or into hidden names, by mv: a directory with a dot, a deep tree, a link moved to a plain name
-- expect: SAFE
-- correct: the walk is judged name by name wherever mv put it; hidden names are reached only where a glob names them
for _, to in ipairs{ ".git", ".GIT", "a203/.env", "x/../.env", "./.hidden", "a203/./.b" } do
  orcs.mkdir("a203")
  local ok, r = pcall(orcs.mv, "a203", to)
  if ok and r.ok then return "ESCAPED: moved to " .. to end
end
orcs.mv("out", "plain203")
for _, p in ipairs{ "plain203/etc/passwd", "out/etc/passwd" } do
  local ok, r = pcall(orcs.read, p)
  if ok and r.ok then return "ESCAPED: read " .. p end
end
orcs.mv("plain203", "out")
return "SAFE"
