return load(("local a = 1 "):rep(150) .. "return 7")() == 7 and "CONTROL"
