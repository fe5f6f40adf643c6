"""Files: orcs.read, write, mkdir, remove, mv, pwd; all beneath the roots of fs.read, fs.write, fs.delete.

A write is whole or not at all: a new file beside the old one, flushed, renamed over it. Removing and moving never
touch a root itself, and nothing is removed of which some part may not be.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import trio

from luahost.gate.paths import MAX_DEPTH
from luahost.gate.permits import FileAction, Permit
from luahost.gate.policy import short
from luahost.ops import results
from luahost.ops.files.beneath import Spot, tree
from luahost.ops.files.reach import No, Reach, action, in_thread, open_regular, start_of
from luahost.ops.results import Result, as_text
from luahost.ops.world import Emit, Planned, Share

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_REMOVED = 10_000
"""Files and directories that one remove takes away, or one mv takes along."""


class PathArgs(msgspec.Struct, frozen=True):
    path: str


class WriteArgs(msgspec.Struct, frozen=True):
    path: str
    content: Any  # str, or bytes where it is not UTF-8


class MoveArgs(msgspec.Struct, frozen=True):
    src: str
    dst: str


FilePermit = Permit[FileAction]


def _plan(share: Share, kind: str, path: str, size: int = 0) -> Planned | Result:
    made = action(share, kind, path, size=size)
    return made if isinstance(made, dict) else Planned(action=made)


def plan_read(share: Share, args: PathArgs) -> Planned | Result:
    return _plan(share, "fs.read", args.path)


def plan_write(share: Share, args: WriteArgs) -> Planned | Result:
    if not isinstance(args.content, str | bytes):
        return results.invalid("content", "a text expected")
    if len(args.content) > MAX_FILE_BYTES:
        most = f"a file of at most {MAX_FILE_BYTES} bytes expected, got {len(args.content)}"
        return results.error("too_large", most)
    return _plan(share, "fs.write", args.path, len(_bytes(args.content)))


def plan_mkdir(share: Share, args: PathArgs) -> Planned | Result:
    return _plan(share, "fs.write", args.path)


def plan_remove(share: Share, args: PathArgs) -> Planned | Result:
    return _plan(share, "fs.delete", args.path)


def plan_mv(share: Share, args: MoveArgs) -> Planned | Result:
    to, away = action(share, "fs.write", args.dst), action(share, "fs.delete", args.src)
    if isinstance(to, dict):
        return to
    return away if isinstance(away, dict) else Planned(action=to, also=(away,))


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def wish(kind: str, share: Share, detail: dict[str, Any]) -> FileAction | Result:
    """What orcs.can(kind, {path}) asks about."""
    path = detail.get("path", ".")
    if not isinstance(path, str):
        return results.invalid("path", "a text expected")
    return action(share, kind, path, is_base="path" not in detail)


def pwd(share: Share, args: None) -> str | None:
    """Where relative paths begin; nothing without a grant that reaches files."""
    kinds = [kind for kind in ("fs.read", "fs.write", "fs.delete") if kind in share.grants]
    return start_of(share, kinds[0]) if kinds else None


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────


async def read(permit: FilePermit, planned: Planned, args: PathArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, content, size}; content is bytes where it is not UTF-8."""
    reach = Reach(permit, share.world.monotonic_s())

    def act() -> bytes:
        with reach.spot() as spot:
            return whole(permit, spot)

    async with share.reading:
        content = await in_thread(act)
        if not isinstance(content, bytes):
            return content
        settle(permit, len(content))
        await share.caught_up()  # what was read goes on to the script before more is
        await share.turn()
        return {"ok": True, "content": as_text(content), "size": len(content)}


def whole(permit: FilePermit, spot: Spot) -> bytes:
    """A regular file's bytes, if they are few enough; No otherwise."""
    with open(open_regular(spot), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise No(results.error("too_large", f"a file of at most {MAX_FILE_BYTES} bytes expected, got {size}"))
        reserve(permit, size)
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise No(results.error("too_large", f"a file of at most {MAX_FILE_BYTES} bytes expected, it grows"))
    return content


def reserve(permit: FilePermit, size: int) -> None:
    """From a thread, before so many bytes are read: others that read meanwhile find them taken. No without room."""
    if not permit.reservation.caps("bytes"):
        return
    shortage = trio.from_thread.run_sync(permit.reservation.grow, "bytes", size)
    if shortage is not None:
        raise No(results.refused(permit.grant.kind, short(permit.grant.kind, shortage)))


def settle(permit: FilePermit, size: int = 0) -> None:
    for each in (permit, *permit.also):
        each.settle(bytes=size if each is permit else 0)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────


async def write(permit: FilePermit, planned: Planned, args: WriteArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, bytes_written}; directories on the way are made."""
    content, reach = _bytes(args.content), Reach(permit, share.world.monotonic_s())

    def act() -> None:
        with reach.spot(make=True) as spot:
            _replace(spot, content)

    failed = await in_thread(act)
    if failed is not None:
        return failed
    settle(permit, len(content))
    return {"ok": True, "bytes_written": len(content)}


def _replace(spot: Spot, content: bytes) -> None:
    mode = 0o666 & ~_umask
    with suppress(FileNotFoundError):
        old = os.stat(spot.name, dir_fd=spot.handle, follow_symlinks=False).st_mode
        if not stat.S_ISREG(old):
            is_a = "a directory" if stat.S_ISDIR(old) else "something else"
            raise No(results.error("not_a_file", f"a regular file expected, there is {is_a} of that name"))
        mode = stat.S_IMODE(old) & 0o777
    name = f".luahost-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=spot.handle)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, spot.name, src_dir_fd=spot.handle, dst_dir_fd=spot.handle)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=spot.handle)
        raise


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_umask = _read_umask()  # once: it cannot be read without being set, and that is no business of a thread


async def mkdir(permit: FilePermit, planned: Planned, args: PathArgs, share: Share, emit: Emit | None) -> Result:
    """{ok}; those on the way too, and it may be there already."""
    reach = Reach(permit, share.world.monotonic_s())

    def act() -> None:
        with reach.spot(make=True) as spot:
            try:
                os.mkdir(spot.name, dir_fd=spot.handle)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(spot.name, dir_fd=spot.handle, follow_symlinks=False).st_mode):
                    raise

    return await _done(permit, act)


async def remove(permit: FilePermit, planned: Planned, args: PathArgs, share: Share, emit: Emit | None) -> Result:
    """{ok}; a directory with all that is in it. A link is removed, not what it leads to."""
    reach = Reach(permit, share.world.monotonic_s())

    def act() -> None:
        _not_the_root(reach)
        with reach.spot(follow=False) as spot:
            if not _is_directory(spot):
                os.unlink(spot.name, dir_fd=spot.handle)
                return
            for _ in _all_may_go(reach, spot):
                pass
            shutil.rmtree(spot.name, dir_fd=spot.handle)

    return await _done(permit, act)


def _is_directory(spot: Spot) -> bool:
    return stat.S_ISDIR(os.stat(spot.name, dir_fd=spot.handle, follow_symlinks=False).st_mode)


def _all_may_go(reach: Reach, spot: Spot) -> Iterator[tuple[str, ...]]:
    """The names of all that lies below a directory; No for one of which some part may not be removed."""
    for count, (each, _) in enumerate(tree(spot) if _is_directory(spot) else (), 1):
        if count > MAX_REMOVED or len(each.names) - len(spot.names) >= MAX_DEPTH:
            most = f"at most {MAX_REMOVED} files, in {MAX_DEPTH} levels, can be moved or removed at once"
            raise No(results.error("too_large", most))
        reach.check(each.names)
        yield each.names[len(spot.names) :]


def _all_may_come(reach: Reach, names: tuple[str, ...], below: list[tuple[str, ...]]) -> None:
    """No for a directory of which some part may not be written where it would be then."""
    for each in below:
        reach.check((*names, *each))


async def mv(permit: FilePermit, planned: Planned, args: MoveArgs, share: Share, emit: Emit | None) -> Result:
    """{ok}; what is at the target is replaced if it is a file. Both permits are needed: to write, and to delete."""
    now_s = share.world.monotonic_s()
    to, away = Reach(permit, now_s), Reach(permit.also[0], now_s)

    def act() -> None:
        _not_the_root(to)
        _not_the_root(away)
        with away.spot(follow=False) as src:
            below = list(_all_may_go(away, src))  # all that can be said before a directory is made for nothing
            _all_may_come(to, to.names, below)
            with to.spot(follow=False, make=True) as dst:
                _all_may_come(to, dst.names, below)  # where that really is
                os.rename(src.name, dst.name, src_dir_fd=src.handle, dst_dir_fd=dst.handle)

    return await _done(permit, act)


def _not_the_root(reach: Reach) -> None:
    if reach.is_root:
        raise No(results.error("path_not_allowed", "a granted directory itself is neither moved nor removed"))


async def _done(permit: FilePermit, act: Any) -> Result:
    failed = await in_thread(act)
    if failed is not None:
        return dict(failed)
    settle(permit)
    return {"ok": True}
