local r = orcs.exec_argv("printf", { "%s|", "; id", "$(id)", "a b" }, { cwd = ATTACK.folder })
return r.ok and r.stdout == "; id|$(id)|a b|" and "CONTROL"
