"""`luahost init DIR`: a project to begin with. A script, its configuration, types for the editor, a test.

The files are those of lua/meta/starter; nothing that is there already is changed.
"""

from __future__ import annotations

from pathlib import Path

from luahost.cli import stubs
from luahost.errors import ConfigError, WorldError
from luahost.vm.sources import root

STARTER = {
    "agent.lua": "agent.lua",
    "luahost.toml": "luahost.toml",
    ".luarc.json": "luarc.json",
    "test_agent.py": "test_agent.py",
}
"""Name in the project → name among the starter's files."""


def start(directory: str) -> list[Path]:
    """Makes the project, whole or not at all where something of it is there; its files."""
    top = Path(directory)
    made = {name: (Path(root()) / "meta" / "starter" / source).read_text() for name, source in STARTER.items()}
    made[stubs.FILE] = stubs.text()
    taken = [name for name in made if (top / name).exists() or (top / name).is_symlink()]
    if taken:
        raise ConfigError(f"init: {top / taken[0]} is there already; give a directory without it")
    try:
        top.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            with (top / name).open("x") as file:
                file.write(text)
    except OSError as error:
        raise WorldError(f"init: {top} cannot be written: {error.strerror}", kind="io") from None
    return [top / name for name in made]
