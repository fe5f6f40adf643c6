return orcs.json_encode{ "a", "b" } == '["a","b"]' and orcs.json_encode{ ["1"] = "a" } == '{"1":"a"}' and "CONTROL"
