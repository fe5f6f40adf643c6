"""How model servers are spoken to: one conversation, one kind of events, four wires. Pure: bytes in and out."""
