-- group: exec
-- attack: have another program run than the granted printf and sleep: by path, by a shell, by signs, by the name of the first argument
-- expect: SAFE
-- correct: commands are compared word by word, no shell is asked, and a place outside the roots is none
-- holds: exec
local tries = {
  { "exec", "id" }, { "exec", "printf x; id" }, { "exec", "printf $(id)" }, { "exec", "printf x\nid" }, { "exec", "printf x" },
  { "exec_argv", "id" }, { "exec_argv", "sh", { "-c", "id" } }, { "exec_argv", "env", { "printf", "x" } }, { "exec_argv", "printf x; id" },
  { "exec_argv", "/usr/bin/id" }, { "exec_argv", "printf/../id" }, { "exec_argv", "./printf" }, { "exec_argv", "printf\0id" }, { "exec_argv", "" },
  { "exec_argv", "printf", { "x" }, { cwd = "/" } }, { "exec_argv", "printf", { "x" }, { cwd = ATTACK.folder .. "/out" } },
  { "exec_argv", "printf", { "x" }, { cwd = ATTACK.folder .. "/../.." } }, { "exec_argv", "printf", { "x" }, { cwd = ATTACK.folder, shell = true } },
  { "exec_argv", "printf", { "x" }, { cwd = ATTACK.folder, env = { LD_PRELOAD = "x.so" } } },
}
for i, t in ipairs(tries) do
  local ok, r = pcall(orcs[t[1]], t[2], t[3], t[4])
  if ok and (type(r) ~= "table" or r.ok) then return "ESCAPED: try " .. i end
end
pcall(orcs.write, "printf", "#!/bin/sh\nid\n")
local r = orcs.exec_argv("printf", { "mine" }, { cwd = ATTACK.folder })
orcs.remove("printf")
return r.stdout == "mine" and "SAFE" or "ESCAPED: " .. tostring(r.stdout)
