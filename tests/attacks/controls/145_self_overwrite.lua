orcs.log("info", "what a script may write")
return "CONTROL"
