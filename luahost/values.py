"""The words every floor uses: what a limit is, what a script is, what crosses the border.

A value that crosses between Lua and Python is None, bool, int (64 bit), float (finite), str, bytes, a list of
values or a dict with str keys of values. As bytes it is MessagePack. Nothing below but errors.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from luahost.errors import ConfigError

Value = Any  # None | bool | int | float | str | bytes | list[Value] | dict[str, Value]

Isolation = Literal["vm", "tree", "shared"]
ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)

MAX_DEPTH = 64
"""No value that crosses the border is nested deeper."""

SOURCE_BYTES = 256 * 1024
"""A script or module is at most this long: Lua's parser cannot be interrupted."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one VM may use. Every limit is on by default but `wall_s`.

    memory_bytes   Lua heap of the VM, for its life
    cpu_s          seconds of CPU in one activation (a load, run, request or signal)
    wall_s         seconds of wall clock in one activation, waits included; None is no limit
    output_bytes   what print, orcs.output and orcs.log may write in one activation; the rest is dropped
    value_bytes    one value across the border, either way; never deeper than 64
    isolation      "vm": a worker process of its own. "tree": one worker for an agent and all its children.
                   "shared": packed with others in a few workers, for scripts you trust not to attack each other
    """

    memory_bytes: int = 64 * 1024 * 1024
    cpu_s: float = 30.0
    wall_s: float | None = None
    output_bytes: int = 64 * 1024
    value_bytes: int = 8 * 1024 * 1024
    isolation: Isolation = "vm"

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "output_bytes", "value_bytes"):
            if not isinstance(getattr(self, name), int):
                raise ConfigError(f"limits.{name}: a whole number of bytes expected, got {getattr(self, name)!r}")
        _between("memory_bytes", self.memory_bytes, 1 << 20, 1 << 36)
        _between("cpu_s", self.cpu_s, 0.001, 86_400 * 365)
        if self.wall_s is not None:
            _between("wall_s", self.wall_s, 0.001, 86_400 * 365)
        _between("output_bytes", self.output_bytes, 0, 1 << 32)
        _between("value_bytes", self.value_bytes, 1024, 1 << 30)
        if self.isolation not in ISOLATIONS:
            raise ConfigError(f'isolation: "vm", "tree" or "shared" expected, got {self.isolation!r}')


def _between(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"limits.{name}: a number from {low:g} to {high:g} expected, got {value!r}")


class Source(msgspec.Struct, frozen=True):
    """A script as text. `name` is what errors show; `directory` is where `require` looks (None: nowhere)."""

    text: str | bytes
    name: str = "script"
    directory: Path | None = None

    def lua(self) -> bytes:
        """The text as Lua compiles it: no byte order mark, no `#!` line; line numbers stay.

        Raises ConfigError when it is bytecode or too long.
        """
        text = self.text.encode("utf-8", "surrogateescape") if isinstance(self.text, str) else self.text
        text = text.removeprefix(b"\xef\xbb\xbf")
        if text.startswith(b"\x1b"):
            raise ConfigError(f"{self.name}: Lua text expected, got compiled Lua (bytecode); give the source")
        if text.startswith(b"#"):
            text = b"--" + text
        if len(text) > SOURCE_BYTES:
            raise ConfigError(
                f"{self.name}: at most {SOURCE_BYTES} bytes of Lua expected, got {len(text)}; split it into modules"
            )
        return text


def deeper_than(value: Value, depth: int) -> bool:
    """Whether a value's lists and dicts are nested more than `depth` deep."""
    level = [value]
    for _ in range(depth + 1):
        below: list[Value] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list | tuple):
                below += each
        if not below:
            return False
        level = below
    return any(isinstance(each, dict | list | tuple) for each in level)


def is_value(value: object) -> bool:
    """Whether all of what JSON was read into can cross the border: numbers finite and of 64 bits, not too deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, float) and not math.isfinite(each):
                return False
            if isinstance(each, int) and not -(1 << 63) <= each < 1 << 63:
                return False
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return True
        level = below
    return False


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?b?|b)?\s*", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def parse_size(text: str) -> int:
    """Bytes in a text like "64MiB", "64M", "1048576"; ConfigError otherwise."""
    match = _SIZE.fullmatch(text) if len(text) < 40 else None
    if not match:
        raise ConfigError(f"a size like 64MiB or 500kB expected, got {text[:40]!r}")
    unit = (match[2] or "").lower()
    return int(float(match[1]) * _UNITS[unit.removesuffix("b") if unit != "b" else "b"])


NEAR_CHARACTERS, NEAR_NAMES = 24, 100


def nearest(name: str, known: Any) -> str:
    """`; did you mean "x"?` for a misspelt name, or "" when nothing is near."""
    import difflib

    # Not of long names, nor among many: the time grows with both, and a script may have chosen them.
    short = {each[:NEAR_CHARACTERS]: each for each in islice(known, NEAR_NAMES)}
    found = difflib.get_close_matches(name[:NEAR_CHARACTERS], short, n=1, cutoff=0.6)
    return f"; did you mean {short[found[0]]!r}?" if found else ""


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str, *, one_line: bool = False) -> str:
    """The text with control characters as escapes: nothing a script says moves a cursor or forges a line."""
    text = text.replace("\r\n", "\n")
    text = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return text.replace("\n", "\\n") if one_line else text
