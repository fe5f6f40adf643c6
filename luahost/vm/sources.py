"""Where the Lua that we trust is, and in which order it runs before the sandbox closes.

The files live in `lua/` at the top of the repository and in `luahost/_lua` of an installed package.
Knows no VM: it only reads text.
"""

from __future__ import annotations

import os
from functools import cache

BOOT = (
    "boot/raw.lua",
    "boot/kill.lua",
    "boot/parts.lua",
    "boot/yields.lua",
    "boot/values.lua",
    "boot/codec.lua",
    "boot/base.lua",
    "std/output.lua",
    "boot/errors.lua",
    "boot/wants.lua",
    "boot/calls.lua",
    "boot/strands.lua",
    "boot/tasks.lua",
    "std/options.lua",
    "std/rare.lua",
    "std/data.lua",
    "std/clock.lua",
    "boot/seal.lua",
)

"""What every VM runs before its sandbox closes."""

PARTS = (
    "boot/complaints.lua",
    "boot/strings.lua",
    "boot/tables.lua",
    "boot/patterns.lua",
    "boot/matcher.lua",
    "boot/analysis.lua",
    "boot/ways.lua",
    "boot/substitution.lua",
    "boot/sort.lua",
    "boot/load.lua",
    "boot/coroutines.lua",
    "boot/groups.lua",
    "boot/json.lua",
    "std/llm.lua",
    "std/fallback.lua",
    "std/sessions.lua",
    "std/caps.lua",
    "std/concurrency.lua",
    "std/children.lua",
    "std/files.lua",
    "std/exec.lua",
    "std/http.lua",
    "std/mcp.lua",
    "std/schema.lua",
    "std/tools.lua",
    "std/structured.lua",
    "std/text.lua",
    "std/hash.lua",
    "std/toml.lua",
    "std/checks.lua",
    "std/documents.lua",
    "std/events.lua",
    "std/modules.lua",
    "std/hooks.lua",
    "std/intents.lua",
    "std/resolve_loop.lua",
)
"""What a VM runs when it is first needed (lua/boot/parts.lua)."""


@cache
def root() -> str:
    """The folder that holds boot/, std/ and meta/."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    folders = os.path.join(package, "_lua"), os.path.join(os.path.dirname(package), "lua")
    for folder in folders:
        if os.path.isdir(os.path.join(folder, "boot")):
            return folder
    raise FileNotFoundError(f"luahost's Lua files are missing: neither {folders[0]} nor {folders[1]}")


@cache
def source(name: str) -> bytes:
    """The text of a trusted file."""
    with open(os.path.join(root(), name), "rb") as file:
        return file.read()
