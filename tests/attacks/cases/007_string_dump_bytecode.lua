-- group: escape
-- attack: make bytecode with string.dump, or load it by hand
-- expect: SAFE
-- correct: no string.dump; load takes text only, whatever its mode says
if string.dump or ("").dump then return "ESCAPED: dump" end
for _, mode in ipairs{ "b", "bt", "tb", "t" } do
  local ok, f = pcall(load, "\27LuaT\0\x19\x93\r\n\x1a\n\4\8\8", "x", mode)
  if ok and f then return "ESCAPED: bytecode loaded in mode " .. mode end
end
return "SAFE"
