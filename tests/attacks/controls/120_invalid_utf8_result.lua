return orcs.json_encode{ "\u{e9}" } == '["\u{e9}"]' and #"\xff\xfe" == 2 and "CONTROL"
