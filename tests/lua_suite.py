"""`python tests/lua_suite.py PATH`: the official tests of Lua 5.4.8, inside the sandbox.

PATH is the folder `testes` of https://github.com/lua/lua at tag v5.4.8; nothing of it is kept here. Each file runs
as a script in a sealed VM. What the sandbox has not (io, os, debug, package, bytecode, the C API, a collector at the
script's call) is left out line by line, each with its reason; a line left out is blank, so that the others keep
their numbers. Prints one line a file: assertions there, left out, and how it ended.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from luahost.values import Limits
from luahost.vm import protocol
from luahost.vm.machine import opened

DEBUG = "needs debug, which scripts do not have"
ADDRESS = "needs %p: addresses help an attacker"
IO = "needs io"
PACKAGE = "needs package"
BYTECODE = "needs bytecode, which is refused"
COLLECT = "needs a collection at the script's call; the collector is the host's"
STRINGS = "changes the metatable of strings, which scripts do not reach"
LOCALE = "needs os.setlocale, which is the process's"
CAPI = "needs the C API"
READ_ONLY = "changes a library, which is read-only"
LOAD = "load() compiles at most 64 KiB"
YIELDS = "wants sort and gsub to refuse a yield; here they allow it"
FRAMES = "wants the name `table.sort` in a complaint; here it is `sort`"

# file → ("lines", reason): what is left out.
LEFT_OUT: dict[str, list[tuple[str, str]]] = {
    "bitwise": [
        ("6 26-27 72-79 80-82 84-90", STRINGS),
    ],
    "calls": [
        ("314 370-371 404 406-407 431-434", DEBUG),
        ("330-342 345-352 368-369 372 390-393 398-403 405 408-411 428-430 453-494", BYTECODE),
    ],
    "closure": [("253-278", DEBUG)],
    "constructs": [("306", DEBUG)],
    "coroutine": [
        ("230", DEBUG),
        ("339-356 360-361 965-971", DEBUG),
        ("416-417", COLLECT),
        ("283 322-335", YIELDS),
    ],
    "errors": [
        ("227 245 248 250 253 340", IO),
        ("235-242 511-531", DEBUG),
        ("277-290", BYTECODE),
        ("373-374", YIELDS),
        ("356", FRAMES),
    ],
    "events": [("196", IO), ("451-479", DEBUG)],
    "goto": [("186-218", DEBUG)],
    "literals": [("214 224-228 231", ADDRESS), ("297-320", LOCALE)],
    "locals": [("73-77 80 82 165 262 429 435 444 452 493 784-808", DEBUG)],
    "nextvar": [("297-301", PACKAGE)],
    "pm": [("413 416 426 436", ADDRESS)],
    "strings": [("160-196", ADDRESS)],
}

# The line it stands on, without debug.
LINE = 'tonumber((select(2, pcall(function() error("") end))):match(":(%d+):"))'

# file → (line, what stands there, what stands there instead, reason): where a part of a line can stay.
CHANGED: dict[str, list[tuple[int, str, str, str]]] = {
    "bitwise": [
        (102, "package.preload.bit32 = function ()", "local load_bit32 = function ()", PACKAGE),
        (210, "require'bit32'", "load_bit32()", PACKAGE),
    ],
    "coroutine": [(238, ' and Y.what == "C"', "", DEBUG)],
    "errors": [
        (490, 'debug.getinfo(1, "l").currentline', "490", DEBUG),
        (587, 'debug.getinfo(1, "l").currentline', "587", DEBUG),
    ],
    "literals": [
        (133, "15000", "10000", LOAD),
        (134, "15000", "10000", LOAD),
        (36, ', require"debug".getinfo(1).currentline\'', f", {LINE}'", DEBUG),
        (247, 'require"debug".getinfo(1).currentline', LINE, DEBUG),
    ],
    "locals": [
        (483, "debug.traceback", "tostring", DEBUG),
        (491, "debug.traceback", "tostring", DEBUG),
    ],
    "nextvar": [
        (330, "function", "local table = setmetatable({}, {__index = table}) function", READ_ONLY),
        (364, "[io.stdin]", "[0/1]", IO),
    ],
}

NOT_RUN = {
    "all": "runs the others",
    "api": CAPI + " in every test",
    "big": "loads a chunk of megabytes; " + LOAD,
    "bwcoercion": STRINGS + "; bitwise.lua would load it",
    "attrib": "tests package and require, which reads files",
    "code": CAPI + " in every test",
    "db": "tests debug",
    "files": "tests io and os",
    "gc": "tests the collector",
    "gengc": "tests the collector",
    "heavy": "fills the machine's memory",
    "main": "tests the command lua",
    "tracegc": "a tool of the others, with __gc",
    "verybig": "tests files and io",
}

PREAMBLE = (
    "_port, _nomsg, T, arg, _soft = true, true, nil, {}, %s "
    "local tracegc = {stop = function() end, start = function() end} "
    "local function require(name) return name == 'tracegc' and tracegc or _G[name] end "
)
ASSERTION = re.compile(r"\b(?:assert|check\w*|cannotload|lineerror|testrep|lex\w+|malformednum|eq\w*)\s*[({\"\[]")


class Verdict(NamedTuple):
    name: str
    assertions: int  # in the text; many run more than once
    left_out: int
    failure: str  # "" when the file ran to its end
    took_s: float


def lines_of(spec: str) -> set[int]:
    """ "3 5-7" → {3, 5, 6, 7}."""
    found: set[int] = set()
    for part in spec.split():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def prepared(name: str, text: str) -> tuple[str, int]:
    """The file as the sandbox runs it, and how many assertions are left out."""
    lines = text.split("\n")
    left_out = 0
    for spec, _ in LEFT_OUT.get(name, []):
        for number in lines_of(spec):
            left_out += len(ASSERTION.findall(lines[number - 1]))
            lines[number - 1] = ""
    for number, old, new, _ in CHANGED.get(name, []):
        if old not in lines[number - 1]:
            raise SystemExit(
                f"{name}.lua:{number} is not as in v5.4.8: {old!r} expected, {lines[number - 1]!r} found"
            )
        lines[number - 1] = lines[number - 1].replace(old, new)
    if lines[0].startswith("#"):
        lines[0] = ""
    return "\n".join(lines), left_out


def run(path: Path, *, soft: bool = False) -> Verdict:
    name = path.stem
    text = path.read_text("latin-1")
    prepared_text, left_out = prepared(name, text)
    source = (PREAMBLE % str(soft).lower() + prepared_text).encode("latin-1")
    began = time.process_time()
    vm = opened(Limits(cpu_s=120, memory_bytes=1 << 30))
    want = vm.load(source, name=f"{name}.lua")[0]
    if isinstance(want, protocol.Done):
        failure = ""
    elif isinstance(want, protocol.Failed):
        failure = f"{want.message} ({want.kind})"
    else:
        failure = f"called the host: {want}"
    return Verdict(name, len(ASSERTION.findall(text)), left_out, failure, time.process_time() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/lua_suite.py", description=__doc__.splitlines()[0])
    parser.add_argument("testes", type=Path, help="the folder testes of Lua 5.4.8")
    parser.add_argument("names", nargs="*", help="only these files")
    given = parser.parse_args()
    paths = sorted(given.testes.glob("*.lua"))
    if not paths:
        parser.error(f"{given.testes} holds no .lua file; wanted the folder testes of github.com/lua/lua at v5.4.8")
    verdicts = [
        run(path) for path in paths if path.stem in (given.names or [path.stem]) and path.stem not in NOT_RUN
    ]
    for each in verdicts:
        print(
            f"{each.name + '.lua':<16} {each.assertions:>5} assertions, {each.left_out:>3} left out  "
            f"{each.took_s:>5.1f} s  {each.failure or 'passes'}"
        )
    failed = sum(bool(each.failure) for each in verdicts)
    print(
        f"{len(verdicts)} files, {sum(each.assertions for each in verdicts)} assertions, "
        f"{sum(each.left_out for each in verdicts)} left out, {failed} files failed"
    )
    if not given.names:
        print_reasons()
    return 1 if failed else 0


def print_reasons() -> None:
    lines: Counter[str] = Counter()
    where: dict[str, list[str]] = {}
    for name, cuts in LEFT_OUT.items():
        for spec, reason in cuts:
            lines[reason] += len(lines_of(spec))
            where.setdefault(reason, []).append(f"{name}.lua: {spec}")
    for name, changes in CHANGED.items():
        for number, _, _, reason in changes:
            lines[reason] += 1
            where.setdefault(reason, []).append(f"{name}.lua: {number} (in part)")
    print("lines left out:")
    for reason, count in lines.most_common():
        print(f"  {count:>4}  {reason}\n        " + "; ".join(where[reason]))
    print("files not run:")
    for name, reason in NOT_RUN.items():
        print(f"  {name}.lua: {reason}")


if __name__ == "__main__":
    sys.exit(main())
