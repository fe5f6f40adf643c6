"""Lua: the sandbox, the machine inside it, and the bytes that cross its border. Pure; the only place with lupa."""
