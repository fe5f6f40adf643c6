"""`python -m luahost`: the same as the command `luahost`."""

from __future__ import annotations

import sys

from luahost.cli import main

if __name__ == "__main__":
    sys.exit(main())
