return require("good").v == 1 and ATTACK.has_symlinks == "1" and "CONTROL"
