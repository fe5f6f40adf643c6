return orcs.json_encode(orcs.array{}) == "[]" and orcs.json_encode(orcs.array{ 1, 2 }) == "[1,2]" and "CONTROL"
