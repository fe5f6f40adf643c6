"""Where a script's calls arrive: THE table of them (syscalls.py), the way up to an answer, and the audit."""
