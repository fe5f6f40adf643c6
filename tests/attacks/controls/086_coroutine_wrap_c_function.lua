return coroutine.wrap(string.rep)("ab", 3) == "ababab" and "CONTROL"
