return require("good") == require("good") and "CONTROL"
