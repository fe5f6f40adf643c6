local text = "é\u{202e}\r\n\0"
return orcs.write("odd.txt", text).ok and orcs.read("odd.txt").content == text and "CONTROL"
