assert(orcs.write("plain148.txt", ("a"):rep(5000) .. "!").ok)
return orcs.grep("^a+!$", "plain148.txt").count == 1 and orcs.glob("*148*").ok and orcs.remove("plain148.txt").ok and "CONTROL"
