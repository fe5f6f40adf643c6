assert(orcs.write("config.toml", "a = 1").ok and orcs.write("hooks/pre-commit", "x").ok)
return orcs.remove("config.toml").ok and orcs.remove("hooks").ok and "CONTROL"
