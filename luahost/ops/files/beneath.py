"""Beneath: a walk from a held directory handle down to one name, which nothing leads out of.

Every step opens one name relative to the handle of the step before and follows no link by itself; a link is read
and walked like any other path, from where it stands or, if it is absolute, from the root, and one that leads above
the root ends the walk. `..` goes back along the handles that were opened, not along what the disk says by then. So
another process that swaps directories for links meanwhile changes what is found, and never where it can be.

What is found is a Spot: an open directory and a name in it, for calls that take a dir_fd and do not follow.
"""

from __future__ import annotations

import errno
import heapq
import os
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from types import TracebackType
from typing import NamedTuple, Self

from luahost.gate import paths

MAX_LINKS = 40
SORTED_AT_ONCE = 4000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Leaves(Exception):
    """A link on the way leads out of the root, or round in circles."""


class Spot(NamedTuple):
    """`name` in the directory `handle`; `names` is the way there from the root, links resolved. The root is "."."""

    handle: int
    name: str
    names: tuple[str, ...]


class Beneath:
    """A root that is held open. `with Beneath(root) as held: spot = held.find(names)`; not for two threads.

    root   where it really is
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._handles = [os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._back_to(0)

    def find(self, names: tuple[str, ...], *, follow: bool = True, make: bool = False) -> Spot:
        """The spot of a path. The last name need not be there. OSError, Leaves.

        follow   a link that is the last name is followed
        make     directories that are missing on the way are made
        """
        self._back_to(1)
        todo, way, links = deque(names), list[str](), 0
        while todo:
            name = todo.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                if not way:
                    raise Leaves("a link leads out of the granted directory")
                way.pop()
                os.close(self._handles.pop())
                continue
            here = self._handles[-1]
            last = not any(each not in ("", ".") for each in todo)
            target = self._target(name, here) if not last or follow else None
            if target is None and last:
                return Spot(here, name, (*way, name))
            if target is None:
                self._handles.append(_open(name, here, make=make))
                way.append(name)
                continue
            links += 1
            if links > MAX_LINKS:
                raise Leaves("too many links on the way")
            if target.startswith("/"):
                below = paths.beneath(posixpath.normpath(target), self.root)
                if below is None:
                    raise Leaves("a link leads out of the granted directory")
                self._back_to(1)
                way.clear()
                todo.extendleft(reversed(below))
            else:
                todo.extendleft(reversed(target.split("/")))
        return Spot(self._handles[-1], ".", tuple(way))

    @staticmethod
    def _target(name: str, here: int) -> str | None:
        """What a link says; None for what is no link, or is not there."""
        try:
            return os.readlink(name, dir_fd=here)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _back_to(self, count: int) -> None:
        while len(self._handles) > count:
            os.close(self._handles.pop())


def _open(name: str, here: int, *, make: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=here)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # made by somebody else meanwhile, or a link: the next line sees
        os.mkdir(name, dir_fd=here)
    return os.open(name, _DIRECTORY, dir_fd=here)


def _by_name(found: Iterator[os.DirEntry[str]]) -> Iterable[os.DirEntry[str]]:
    """In parts: a sort is one piece of work, and holds every thread."""
    parts = []
    while part := sorted(islice(found, SORTED_AT_ONCE), key=_name):
        parts.append(part)
    return heapq.merge(*parts, key=_name)


_name = attrgetter("name")


def tree(spot: Spot, max_depth: int = paths.MAX_DEPTH) -> Iterator[tuple[Spot, os.DirEntry[str]]]:
    """All that lies below a directory, by name, following no link; a spot is good until the next one."""
    handle = os.open(spot.name, _DIRECTORY, dir_fd=spot.handle)
    try:
        with os.scandir(handle) as found:
            entries = _by_name(found)
        for entry in entries:
            here = Spot(handle, entry.name, (*spot.names, entry.name))
            yield here, entry
            if max_depth > 1 and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):  # gone, or a link by now
                    yield from tree(here, max_depth - 1)
    finally:
        os.close(handle)
