return ("(a(b)c)"):match("%b()") == "(a(b)c)" and ("THE end"):find("%f[%l]%l+") == 5 and ("abab"):match("^(ab)%1$") == "ab" and "CONTROL"
