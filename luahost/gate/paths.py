"""Paths as the gate judges them: texts, before anything is touched.

A script's path becomes one absolute path without `.` and `..`, or is refused. `..` may only stand in front: behind
a name it would mean something else if that name were a link. What links really lead to is found out, and judged
again, by the walk (ops/files/beneath.py). Names that begin with a dot are reached only where a glob names them:
they are other programs' settings and keys.

In a glob `*` and `?` stay within one name, `**` is any number of folders, and none of them stands for a leading
dot.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterable

from luahost.errors import ConfigError

MAX_BYTES = 4096
MAX_DEPTH = 64


def absolute(path: str, start: str) -> str:
    """The path as seen from `start`, an absolute one; ConfigError for a spelling that is not taken."""
    if not path or "\0" in path or len(path.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise ConfigError(f"a path of 1 to {MAX_BYTES} bytes without NUL expected")
    if path.startswith("~"):
        raise ConfigError("a path without ~ expected: there is no home here")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    named = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    if ".." in parts[named:]:
        raise ConfigError("a path with .. only in front expected")
    if path.startswith("/") and named:
        raise ConfigError("an absolute path without .. expected")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"a path of at most {MAX_DEPTH} names expected")
    return posixpath.normpath(posixpath.join("/" if path.startswith("/") else start, *parts))


def beneath(path: str, root: str) -> tuple[str, ...] | None:
    """The names that lead from the root down to the path, both absolute; () for the root itself, None outside."""
    if path == root:
        return ()
    inside = root if root.endswith("/") else root + "/"
    return tuple(path[len(inside) :].split("/")) if path.startswith(inside) else None


def innermost(path: str, roots: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The innermost of the roots that hold a path, and the path's names beneath it; ValueError where none does."""
    within = [(root, names) for root in roots if (names := beneath(path, root)) is not None]
    return max(within, key=lambda each: len(each[0]))


def is_hidden(names: tuple[str, ...]) -> bool:
    """Whether a name on the way begins with a dot."""
    return any(name.startswith(".") for name in names)


def matches_glob(globs: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether one of the globs is this whole path beneath a root; in no more steps than their lengths' product."""
    return any(_matches(_split(glob), names) for glob in globs)


def leads(globs: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether something that a glob matches may lie below the directory of these names."""
    return any(_leads(_split(glob), names) for glob in globs)


def _leads(glob: tuple[str, ...], names: tuple[str, ...]) -> bool:
    for at, name in enumerate(names):
        if at >= len(glob):
            return False
        if glob[at] == "**":
            return not is_hidden(names[at:])
        if not _is_name(glob[at], name):
            return False
    return True


@functools.lru_cache(maxsize=1024)
def _split(glob: str) -> tuple[str, ...]:
    return tuple(part for part in glob.split("/") if part not in ("", "."))


def _matches(glob: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Row by row: `reached[at]` says whether the glob so far can be the first `at` names."""
    reached = [True, *(False for _ in names)]
    for place, part in enumerate(glob):
        if part != "**":
            reached = [False, *(reached[at] and _is_name(part, name) for at, name in enumerate(names))]
            continue
        before, through = reached, False  # through: some folder on the way was reached
        reached = list(before) if place < len(glob) - 1 else [False] * len(before)  # at the end it is a name too
        for at, name in enumerate(names):
            through = (through or before[at]) and not name.startswith(".")
            reached[at + 1] = reached[at + 1] or through
    return reached[-1]


def _is_name(glob: str, name: str) -> bool:
    if name.startswith(".") and not glob.startswith("."):
        return False
    at, star, seen = 0, -1, 0  # the place in the glob; its last star, and how much of the name that one has taken
    here = 0
    while here < len(name):
        if at < len(glob) and glob[at] == "*":
            star, seen, at = at, here, at + 1
        elif at < len(glob) and glob[at] in ("?", name[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            seen += 1
            at, here = star + 1, seen
        else:
            return False
    return all(sign == "*" for sign in glob[at:])
