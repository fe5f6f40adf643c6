return orcs.json_encode{ orcs.null, orcs.array{} } == "[null,[]]" and orcs.json_parse("null") == orcs.null and "CONTROL"
