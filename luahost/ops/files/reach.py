"""From a permit to the place on disk: which root, down the walk, and the gate asked again where links led.

What goes wrong on the way is a result for the script, told in one place; it never quotes a file, and outside of the
granted directories it is the same whether something is there or not.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import trio

from luahost.errors import ConfigError
from luahost.gate import paths
from luahost.gate.grants import Grant
from luahost.gate.permits import FileAction, Permit
from luahost.gate.policy import Refusal, judge
from luahost.ops import results
from luahost.ops.files.beneath import Beneath, Leaves, Spot
from luahost.ops.results import Result
from luahost.ops.world import Share

T = TypeVar("T")


class No(Exception):
    """The answer is a no; `result` says which."""

    def __init__(self, result: Result) -> None:
        super().__init__(result["error"])
        self.result = result


def roots_of(grant: Grant | None, start: str) -> tuple[str, ...]:
    """The directories a grant reaches: those of the narrowest grant in its chain that names any."""
    if grant is None:
        return ()
    named: list[tuple[str, ...]] = grant.said("roots")
    return next(iter(named), (start,) if grant.kind == "fs.read" else ())


def walked(grant: Grant, start: str) -> tuple[str, ...]:
    """The directories that a walk begins in: the operator's own, at the top of the chain.

    One that a narrower grant names may be a link that leads away, and who narrows may be a script.
    """
    roots: tuple[str, ...] | None = grant.operators("roots")
    return (start,) if roots is None else roots


def start_of(share: Share, kind: str) -> str:
    """Where relative paths begin: the host's directory if the roots lie beneath it or around it, else the first."""
    start = share.world.directory
    roots = roots_of(share.grants.get(kind), start)
    near = any(paths.beneath(r, start) is not None or paths.beneath(start, r) is not None for r in roots)
    return start if near or not roots else roots[0]


def action(share: Share, kind: str, path: str, *, size: int = 0, is_base: bool = False) -> FileAction | Result:
    """The act on one path, or invalid_options for a spelling that is not taken."""
    try:
        absolute = paths.absolute(path, start_of(share, kind))
    except ConfigError as error:
        return results.error("path_not_allowed", f"path: {error.message}", field="path", rule="spelling")
    start = share.world.directory
    return FileAction(of=kind, path=absolute, start=start, size=size, home=share.home, is_base=is_base)


class Reach:
    """One permitted path, and the gate's rules for what is found by it. `root` is where the walk begins."""

    def __init__(self, permit: Permit[FileAction], now_s: float) -> None:
        self.permit, self._now_s = permit, now_s
        self.root, self.names = paths.innermost(permit.action.path, walked(permit.grant, permit.action.start))
        self._real = self.root  # with its own links resolved, once it is open

    @property
    def is_root(self) -> bool:
        """Whether it is a granted directory itself, by whichever grant of the chain."""
        path, start = self.permit.action.path, self.permit.action.start
        return path in walked(self.permit.grant, start) or any(
            path in roots for roots in self.permit.grant.said("roots")
        )

    @contextmanager
    def spot(self, *, follow: bool = True, make: bool = False) -> Iterator[Spot]:
        """The place, open for as long as the block runs. No for what the gate refuses."""
        with Beneath(self.root) as held:
            self._real = held.root
            found = held.find(self.names, follow=follow, make=make)
            if found.names != self.names or self._real != self.root:
                self.check(found.names, is_base=self.permit.action.is_base)
            yield found

    def refusal(self, names: tuple[str, ...], *, is_base: bool = False) -> Refusal | None:
        """What the gate says to another path beneath the same root."""
        real = None if self._real == self.root else joined(self._real, names)
        other = msgspec.structs.replace(self.permit.action, path=self.path(names), real=real, is_base=is_base)
        return judge(self.permit.grant, other, self._now_s)

    def path(self, names: tuple[str, ...]) -> str:
        """The absolute path of what lies beneath the root."""
        return joined(self.root, names)

    def check(self, names: tuple[str, ...], *, is_base: bool = False) -> None:
        """No for a path beneath the same root that the gate refuses."""
        refusal = self.refusal(names, is_base=is_base)
        if refusal is not None:
            raise No(results.refused(self.permit.action.kind, refusal, path="/".join(names)))


def joined(root: str, names: tuple[str, ...]) -> str:
    return "/".join((root.rstrip("/"), *names)) or "/"


async def in_thread(act: Callable[[], T], one: trio.CapacityLimiter | None = None) -> T | Result:
    """Runs what touches the disk in a thread, `one` of its kind; what the disk says becomes a result."""
    try:
        return await trio.to_thread.run_sync(act, limiter=one)
    except No as no:
        return no.result
    except Leaves as leaves:
        return results.error("path_not_allowed", str(leaves), rule="links")
    except OSError as error:
        return from_os(error)


_KINDS = {
    errno.ENOENT: ("not_found", "there is no such file or directory"),
    errno.EISDIR: ("not_a_file", "a file expected, it is a directory"),
    errno.ENOTDIR: ("not_a_directory", "a directory expected, something on the way is none"),
    errno.EEXIST: ("exists", "it exists already"),
    errno.ENOTEMPTY: ("exists", "a directory that is not empty is there already"),
    errno.ELOOP: ("path_not_allowed", "a link was put there meanwhile"),
    errno.ENAMETOOLONG: ("invalid_options", "a name on the way is too long"),
    errno.EACCES: ("io", "the host may not"),
    errno.EPERM: ("io", "the host may not"),
    errno.ENOSPC: ("io", "the disk is full"),
    errno.EXDEV: ("io", "it cannot be moved to another file system"),
}


def from_os(error: OSError) -> Result:
    """The disk said no."""
    kind, message = _KINDS.get(error.errno or 0, ("io", os.strerror(error.errno or errno.EIO)))
    return results.error(kind, message)


def open_regular(spot: Spot) -> int:
    """A descriptor to read a regular file with; No for anything else, without waiting for a FIFO's writer."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(spot.name, flags, dir_fd=spot.handle)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_dev == _PROC:
        os.close(descriptor)
        is_a = "it is a directory" if stat.S_ISDIR(about.st_mode) else "it is none"
        raise No(results.error("not_a_file", f"a regular file expected, {is_a}"))
    return descriptor


def _proc() -> int | None:
    try:
        device = os.stat("/proc").st_dev
        return None if device == os.stat("/").st_dev else device
    except OSError:
        return None


_PROC = _proc()
"""Where Linux shows processes as files: the host's environment, in which its keys are, looks like one."""
