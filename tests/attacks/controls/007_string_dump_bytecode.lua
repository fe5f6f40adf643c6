return load("return 6 * 7", "x", "t")() == 42 and "CONTROL"
