return require("good").v == 1 and "CONTROL"
