"""`luahost check`, the other half: is this text Lua, and what of orcs does it name? Nothing of it is run.

A process of its own, because Lua's parser cannot be interrupted and its input is a stranger's: source on
stdin, one line of JSON on stdout, in the same cage as a worker. The text is compiled by the compiler that would
run it, behind `do return end`, so that not even its first statement happens. The names come from a lexer that
skips strings and comments; what it cannot follow (orcs kept under another name) it reports as such.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from luahost.values import Limits
from luahost.vm import protocol
from luahost.vm.machine import Machine, opened
from luahost.worker import confine

CPU_S = 5.0
SPACE_BYTES = 512 * 1024 * 1024
"""Address space on top of the booted process."""
MAX_NAMES = 1000

NOTHING_RUNS = b"do return end "


class Checked(msgspec.Struct, kw_only=True):
    """The answer. `error` is "" when the text is Lua; `kind` is the machine's word for the error.

    names        every NAME of orcs.NAME and orcs["NAME"], in the order they first come
    opaque_line  the first line that uses orcs in another way; 0: none does
    """

    error: str = ""
    kind: str = ""
    names: list[str] = []
    opaque_line: int = 0


def check(source: bytes, name: str) -> Checked:
    """Compiles the text and reads its names."""
    machine = opened(Limits(cpu_s=CPU_S))
    return _checked(machine, source, name)


def _checked(machine: Machine, source: bytes, name: str) -> Checked:
    for want in machine.load(NOTHING_RUNS + source, name=name):
        if isinstance(want, protocol.Failed):
            return Checked(error=want.message.decode(errors="replace"), kind=want.kind.decode(errors="replace"))
    names, opaque_line = names_of_orcs(source)
    return Checked(names=names[:MAX_NAMES], opaque_line=opaque_line)


# ── the lexer ───────────────────────────────────────────────────────────────────────────────────────────

# Only for text that compiled: strings and comments are known to end.
_TOKEN = re.compile(
    rb"""
      (?P<skip> --\[(?P<c>=*)\[.*?\](?P=c)\] | --[^\n]* | \s+ )
    | (?P<string> \[(?P<s>=*)\[.*?\](?P=s)\] | "(?:\\z\s*|\\.|[^"\\])*" | '(?:\\z\s*|\\.|[^'\\])*' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | \.\.\.? | .
    """,
    re.VERBOSE | re.DOTALL,
)


def _tokens(source: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(kind, text, where it begins): names, strings and single signs; comments and spaces are left out."""
    for match in _TOKEN.finditer(source):
        if match["skip"] is None:
            kind = "name" if match["name"] is not None else "string" if match["string"] is not None else "sign"
            yield kind, match[0], match.start()


def names_of_orcs(source: bytes) -> tuple[list[str], int]:
    """The names looked up in orcs, and the first line where orcs is used otherwise (0: nowhere)."""
    names: dict[str, None] = {}
    opaque_line = 0
    tokens = list(_tokens(source))
    for index, (kind, text, begin) in enumerate(tokens):
        if kind != "name" or text != b"orcs":
            continue
        after = tokens[index + 1 : index + 4]
        found = _field(after)
        if found is not None:
            names[found] = None
        elif not opaque_line:
            opaque_line = source.count(b"\n", 0, begin) + 1
    return list(names), opaque_line


def _field(after: list[tuple[str, bytes, int]]) -> str | None:
    """NAME when the tokens go on as .NAME or ["NAME"]."""
    kinds = [kind for kind, _, _ in after]
    signs = [text if kind == "sign" else b"" for kind, text, _ in after]
    if kinds[:2] == ["sign", "name"] and signs[0] == b".":
        return after[1][1].decode()
    if kinds == ["sign", "string", "sign"] and signs[0] == b"[" and signs[2] == b"]":
        text = after[1][1]
        inside = text[1:-1] if text[:1] in b"\"'" else text.strip(b"=[]")
        return inside.decode(errors="replace") if b"\\" not in inside else None
    return None


# ── the program ─────────────────────────────────────────────────────────────────────────────────────────


def main(name: str, parent: int) -> None:
    """Reads the source, steps into the cage, answers. What is left of a failure is the exit status."""
    machine = opened(Limits(cpu_s=CPU_S))
    source = sys.stdin.buffer.read()
    os.closerange(3, 4096)
    confine.empty_environment()
    confine.remember_mapped_bytes()
    confine.drop_privileges()
    confine.close(parent, SPACE_BYTES)
    confine.CpuGuard().allow(time.process_time(), CPU_S)
    answer: Any = msgspec.json.encode(_checked(machine, source, name))
    os.write(1, answer)
    os._exit(0)
