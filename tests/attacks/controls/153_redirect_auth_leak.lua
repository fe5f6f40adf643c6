return orcs.llm("hi").content == "You said: hi" and "CONTROL"
