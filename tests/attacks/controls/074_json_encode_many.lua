return #orcs.json_encode{ ("\\"):rep(100), ("\n"):rep(100) } == 407 and "CONTROL"
