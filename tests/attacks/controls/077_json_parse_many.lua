return #orcs.json_parse("[" .. ('{"a":1},'):rep(100) .. "0]") == 101 and "CONTROL"
