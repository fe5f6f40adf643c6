return orcs.read("inside").content == "return {v = 1}\n" and "CONTROL"
