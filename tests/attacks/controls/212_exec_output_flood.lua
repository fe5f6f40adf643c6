local r = orcs.exec_argv("printf", { "%1000000d", "1" }, { cwd = ATTACK.folder })
return r.ok and #r.stdout == 1000000 and not r.truncated and "CONTROL"
