return require("modules.good").v == 1 and "CONTROL"
