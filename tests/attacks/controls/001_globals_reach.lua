return type(string) == "table" and type(os.time) == "function" and type(require) == "function" and "CONTROL"
