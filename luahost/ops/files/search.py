"""Looking for files: orcs.glob, grep, scan_dir, git_info. One walk, and the gate is asked at each name.

What the grant does not reach is not told, as if it were not there. Patterns are RE2's, which has no slow ones. All
is bounded: depth, entries looked at, matches told, bytes read.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import trio

from luahost.errors import HostFault
from luahost.gate import paths
from luahost.ops import results
from luahost.ops.files.beneath import Beneath, Spot, tree
from luahost.ops.files.calls import MAX_FILE_BYTES, FilePermit, reserve, settle
from luahost.ops.files.reach import No, Reach, action, in_thread, open_regular, start_of
from luahost.ops.results import Result, as_text
from luahost.ops.world import Emit, Planned, Share

T = TypeVar("T")

MAX_DEPTH = 32
MAX_ENTRIES = 200_000
MAX_FOUND = 10_000
MAX_PATTERN_BYTES = 1000
MAX_LINE_CHARS = 1000
MAX_GREP_BYTES = 256 * 1024 * 1024
RE2_BYTES = 8 * 1024 * 1024
FREE_S = 0.25
"""CPU of one search that costs nothing."""


class GlobArgs(msgspec.Struct, frozen=True):
    pattern: str
    dir: str = "."


class GrepArgs(msgspec.Struct, frozen=True):
    pattern: str
    path: str = "."


class ScanArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    recursive: bool = True
    max_depth: int = MAX_DEPTH
    exclude: list[str] = []
    include: list[str] = []


Entry = tuple[Spot, os.DirEntry[str]]

_NO_DIRECTORY = (FileNotFoundError, NotADirectoryError)


def _plan(share: Share, path: str) -> Planned | Result:
    made = action(share, "fs.read", path, is_base=True)
    return made if isinstance(made, dict) else Planned(action=made)


def plan_glob(share: Share, args: GlobArgs) -> Planned | Result:
    if args.pattern.startswith("/") or ".." in args.pattern.split("/"):
        return results.error("path_not_allowed", "pattern: a glob beneath dir expected", rule="spelling")
    if not args.pattern or len(args.pattern) > MAX_PATTERN_BYTES:
        return results.invalid("pattern", f"a glob of 1 to {MAX_PATTERN_BYTES} characters expected")
    return _plan(share, "/".join((args.dir, *_led(args.pattern)[0])))


def _led(pattern: str) -> tuple[tuple[str, ...], str]:
    """The directories that a glob names before its first `*` or `?`, and the rest of it, which is looked for there:
    docs/*.md needs a grant for docs, and for nothing around it."""
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    fixed = next((at for at, name in enumerate(names) if set("*?") & set(name)), len(names))
    fixed = min(fixed, len(names) - 1)
    return tuple(names[:fixed]), "/".join(names[fixed:])


def plan_grep(share: Share, args: GrepArgs) -> Planned | Result:
    if len(args.pattern) > MAX_PATTERN_BYTES:
        return results.invalid("pattern", f"at most {MAX_PATTERN_BYTES} characters expected")
    return _plan(share, args.path)


def plan_scan(share: Share, args: ScanArgs) -> Planned | Result:
    if not 1 <= args.max_depth <= MAX_DEPTH:
        return results.invalid("max_depth", f"from 1 to {MAX_DEPTH} expected, got {args.max_depth}")
    return _plan(share, args.path)


def plan_git(share: Share, args: None) -> Planned | Result:
    return _plan(share, ".")


async def _searched(share: Share, act: Callable[[], T]) -> T | Result:
    """A walk is work for Python, which threads share with the event loop: a few at a time, and one of each VM.

    No limit of the VM counts it, so who searches for long waits before the next search, as long as it took.
    """

    def timed() -> T:
        began_s = time.thread_time()
        try:
            return act()
        finally:
            share.searched_s = time.thread_time() - began_s

    async with share.searching:
        await trio.sleep(max(0.0, share.searched_s - FREE_S))
        return await in_thread(timed, share.world.searchers)


def _entries(reach: Reach, spot: Spot, max_depth: int = MAX_DEPTH) -> Iterator[Entry]:
    """All below a directory that the grant reaches; directories on the way to something it may reach as well."""
    for count, (each, entry) in enumerate(tree(spot, max_depth), 1):
        if not _is_text(entry.name):
            continue
        if count > MAX_ENTRIES:
            raise No(results.error("too_large", f"more than {MAX_ENTRIES} files and directories to look at"))
        if count % 256 == 0:
            trio.from_thread.check_cancelled()
        if reach.refusal(each.names, is_base=entry.is_dir(follow_symlinks=False)) is None:
            yield each, entry


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: paths are texts, so a script could not say another."""
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)


def _shown(reach: Reach, start: str, names: tuple[str, ...]) -> str:
    """A path as the script can use it again: relative to where its relative paths begin, if it lies below."""
    path = reach.path(names)
    below = paths.beneath(path, start)
    return path if below is None else "/".join(below)


# ── glob, scan_dir ──────────────────────────────────────────────────────────────────────────────────────


async def glob(permit: FilePermit, planned: Planned, args: GlobArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, files, count}: the files whose path below dir matches, in order."""
    reach, start = Reach(permit, share.world.monotonic_s()), start_of(share, "fs.read")
    led, pattern = _led(args.pattern)

    def act() -> list[str]:
        found: list[str] = []
        with suppress(*(_NO_DIRECTORY if led else ())), reach.spot() as spot:
            deep = len(spot.names)
            for each, entry in _entries(reach, spot):
                if entry.is_file(follow_symlinks=False) and paths.matches_glob((pattern,), each.names[deep:]):
                    found.append(_shown(reach, start, each.names))
                    if len(found) > MAX_FOUND:
                        raise No(results.error("too_large", f"more than {MAX_FOUND} files match"))
        return found

    found = await _searched(share, act)
    if isinstance(found, dict):
        return found
    settle(permit)
    return {"ok": True, "files": found, "count": len(found)}


async def scan_dir(permit: FilePermit, planned: Planned, args: ScanArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, entries=[{path, relative, is_dir, size, modified}]}; `include` is for files, `exclude` for all."""
    reach = Reach(permit, share.world.monotonic_s())
    exclude, include = tuple(args.exclude), tuple(args.include)

    def act() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        left_out: set[tuple[str, ...]] = set()
        with reach.spot() as spot:
            deep = len(spot.names)
            for each, entry in _entries(reach, spot, args.max_depth if args.recursive else 1):
                below, is_dir = each.names[deep:], entry.is_dir(follow_symlinks=False)
                if any(below[:end] in left_out for end in range(1, len(below))):
                    continue
                if _matches(exclude, below):
                    if is_dir:
                        left_out.add(below)
                    continue
                if not is_dir and include and not _matches(include, below):
                    continue
                about = entry.stat(follow_symlinks=False)
                found.append(
                    {
                        "path": reach.path(each.names),
                        "relative": "/".join(below),
                        "is_dir": is_dir,
                        "size": about.st_size,
                        "modified": int(about.st_mtime),
                    }
                )
                if len(found) > MAX_FOUND:
                    raise No(results.error("too_large", f"more than {MAX_FOUND} entries"))
        return found

    found = await _searched(share, act)
    if isinstance(found, dict):
        return found
    settle(permit)
    return {"ok": True, "entries": found}


def _matches(globs: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """As gitignore has it: a glob without a slash is a name, wherever it stands."""
    return any(paths.matches_glob((glob,), names if "/" in glob else names[-1:]) for glob in globs)


# ── grep ────────────────────────────────────────────────────────────────────────────────────────────────


def _compiled(pattern: str) -> Any:
    try:
        import re2
    except ImportError:
        raise HostFault("orcs.grep needs the package google-re2: pip install 'luahost[files]'") from None
    options = re2.Options()
    options.max_mem, options.log_errors = RE2_BYTES, False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise No(results.invalid("pattern", f"a regular expression as RE2 has it expected: {text[:200]}")) from None


async def grep(permit: FilePermit, planned: Planned, args: GrepArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, matches=[{path, line_number, line}], count, truncated}: of one file, or of all below a directory."""
    reach, start = Reach(permit, share.world.monotonic_s()), start_of(share, "fs.read")
    matches: list[dict[str, Any]] = []

    def act() -> int:
        search = _compiled(args.pattern).search
        read = 0
        with reach.spot() as spot:
            for each in _files(reach, spot):
                read += _grep_one(permit, each, search, _shown(reach, start, each.names), matches)
                if len(matches) >= MAX_FOUND or read > MAX_GREP_BYTES:
                    break
        return read

    read = await _searched(share, act)
    if isinstance(read, dict):
        return read
    settle(permit, read)
    more = len(matches) >= MAX_FOUND or read > MAX_GREP_BYTES
    return {"ok": True, "matches": matches, "count": len(matches), **({"truncated": True} if more else {})}


def _files(reach: Reach, spot: Spot) -> Iterator[Spot]:
    """The file itself, or each regular file below the directory."""
    if not stat.S_ISDIR(os.stat(spot.name, dir_fd=spot.handle, follow_symlinks=False).st_mode):
        reach.check(spot.names, is_base=False)
        yield spot
        return
    for each, entry in _entries(reach, spot):
        if entry.is_file(follow_symlinks=False):
            yield each


def _lines(data: bytes) -> Iterator[bytes]:
    """One by one: to split megabytes at once would hold the event loop, wherever it is done."""
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        yield data[at : end - 1 if data[at:end].endswith(b"\r") else end]
        at = end + 1
    yield data[at:]


def _grep_one(permit: FilePermit, where: Spot, search: Any, shown: str, matches: list[dict[str, Any]]) -> int:
    """Adds a file's matching lines; how many bytes were read. Binary and too large files are passed over."""
    try:
        descriptor = open_regular(where)
    except (No, OSError):
        return 0
    with open(descriptor, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            return 0
        reserve(permit, size)
        data = file.read(MAX_FILE_BYTES)
    if b"\0" in data[:8192]:
        return len(data)
    for number, line in enumerate(_lines(data), 1):
        if number % 4096 == 0:
            trio.from_thread.check_cancelled()
        if search(line) is not None:
            text = as_text(line[: 4 * MAX_LINE_CHARS])
            line_text = text if isinstance(text, str) else line.decode(errors="replace")
            matches.append({"path": shown, "line_number": number, "line": line_text[:MAX_LINE_CHARS]})
            if len(matches) >= MAX_FOUND:
                break
    return len(data)


# ── git_info ────────────────────────────────────────────────────────────────────────────────────────────


async def git_info(permit: FilePermit, planned: Planned, args: None, share: Share, emit: Emit | None) -> Result:
    """{ok, branch, commit_short} of the repository where relative paths begin: read from .git, git is not run."""
    reach = Reach(permit, share.world.monotonic_s())

    def act() -> Result:
        with Beneath(reach.root) as held:
            head = _git_text(held, reach, "HEAD")
            ref = head.removeprefix("ref: ")
            if ref == head:
                return {"ok": True, "commit_short": head[:7]}
            told: Result = {"ok": True, "branch": ref.removeprefix("refs/heads/")}
            commit = _git_ref(held, reach, ref)
            return told if commit is None else {**told, "commit_short": commit[:7]}

    told = await _searched(share, act)
    if told["ok"]:
        settle(permit)
    return dict(told)


def _git_ref(held: Beneath, reach: Reach, ref: str) -> str | None:
    """The commit a ref stands at; None on a branch without one."""
    if ".." not in ref:
        with suppress(FileNotFoundError):
            return _git_text(held, reach, *ref.split("/"))
    with suppress(FileNotFoundError):
        for line in _git_text(held, reach, "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == ref:
                return commit
    return None


def _git_text(held: Beneath, reach: Reach, *names: str) -> str:
    spot = held.find((*reach.names, ".git", *names))
    if spot.names != (*reach.names, ".git", *names):  # the gate was asked about the directory and no link in it
        raise No(results.error("path_not_allowed", "a link leads out of the repository", rule="links"))
    with open(open_regular(spot), "rb") as file:
        return file.read(1 << 20).decode(errors="replace").strip()
