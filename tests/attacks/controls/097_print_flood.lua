print("x")
print()
orcs.output("")
return "CONTROL"
