local m = require("good")
m.mine = true
return require("good").mine and "CONTROL"
