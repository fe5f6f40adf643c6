return os.date("!%Y", 0) == "1970" and os.date("!*t", 86400).day == 2 and "CONTROL"
