return table.move({ 1, 2, 3 }, 1, 3, 2)[4] == 3 and "CONTROL"
