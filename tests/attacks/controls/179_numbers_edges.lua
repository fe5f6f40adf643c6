return math.maxinteger + 1 == math.mininteger and 7 // 2 == 3 and ("%d"):format(3.0) == "3" and "CONTROL"
