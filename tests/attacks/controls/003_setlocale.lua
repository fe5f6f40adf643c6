return type(os.date) == "function" and tonumber("1.5") == 1.5 and "CONTROL"
