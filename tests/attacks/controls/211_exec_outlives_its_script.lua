local r = orcs.all { function() return orcs.exec_argv("sleep", { "0.01" }, { cwd = ATTACK.folder }) end, function() return orcs.exec_argv("printf", { "x" }, { cwd = ATTACK.folder, timeout = 5 }) end }
return r[1].ok and r[2].stdout == "x" and "CONTROL"
