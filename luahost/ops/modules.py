"""require's other half: reads a module that lies beside the script, and nothing else.

a.b is a/b.lua or a/b/init.lua beneath the script's directory, opened component by component so that no symbolic
link leads out; only regular files of Lua text.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import msgspec
import trio

from luahost.errors import ConfigError
from luahost.ops.world import Share
from luahost.values import SOURCE_BYTES, Source

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class ModuleArgs(msgspec.Struct, frozen=True):
    name: str


async def module(share: Share, args: ModuleArgs) -> dict[str, Any]:
    """{ok, source, name} or {ok=false, error}; the error never quotes a file."""
    if len(args.name) > 200 or not _NAME.fullmatch(args.name):
        return {"ok": False, "error": "a name of letters, digits, _ and - expected"}
    if share.directory is None:
        return {"ok": False, "error": "this script has no directory: it was not loaded from a file"}
    parts = args.name.split(".")
    for names in ([*parts[:-1], parts[-1] + ".lua"], [*parts, "init.lua"]):
        try:
            text = await trio.to_thread.run_sync(read_beneath, share.directory, names)
            if text is not None:
                name = "/".join(names)
                return {"ok": True, "source": Source(text, name).lua(), "name": name}
        except ConfigError as error:
            return {"ok": False, "error": error.message}
        except OSError as error:
            return {"ok": False, "error": f"it cannot be read ({type(error).__name__})"}
    return {"ok": False, "error": "no such file beside the script"}


def read_beneath(directory: Path, names: list[str]) -> bytes | None:
    """The regular file at names beneath directory, following no link; None when it is not there."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            below = os.open(name, flags | os.O_DIRECTORY, dir_fd=held)
            os.close(held)
            held = below
        file = os.open(names[-1], flags | os.O_NONBLOCK, dir_fd=held)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(held)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)  # open() would raise for a directory and leave it open
        raise ConfigError("a regular file expected")
    with open(file, "rb") as stream:
        return stream.read(SOURCE_BYTES + 2)
