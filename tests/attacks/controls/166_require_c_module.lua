return type(require("good")) == "table" and "CONTROL"
