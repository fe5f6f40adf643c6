return orcs.json_encode{ ["a\0b"] = 5 } == '{"a\\u0000b":5}' and "CONTROL"
