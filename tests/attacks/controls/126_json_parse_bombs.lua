return orcs.json_parse('{"a":[1,2,{"b":null}],"c":"\\ud83d\\ude00"}').c == "\u{1f600}" and "CONTROL"
