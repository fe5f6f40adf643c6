-- group: escape
-- attack: get io, os or debug back through require's cache of loaded libraries
-- expect: SAFE
-- correct: require finds only files beside the script
for _, n in ipairs{ "io", "os", "debug", "package", "string", "_G", "coroutine" } do
  local ok, m = pcall(require, n)
  if ok and type(m) == "table" and (m.popen or m.execute or m.sethook or m.loadlib or m.dump) then return "ESCAPED: " .. n end
end
return package == nil and "SAFE" or "ESCAPED: package"
