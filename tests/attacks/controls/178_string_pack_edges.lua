return string.pack("<i4", 7) == "\7\0\0\0" and string.unpack("<i4", "\7\0\0\0") == 7 and ("%5.1f"):format(2.25) == "  2.2" and "CONTROL"
