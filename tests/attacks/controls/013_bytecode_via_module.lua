return require("good").v == 1 and require("modules.good").v == 1 and "CONTROL"
