"""How many values some MessagePack holds, told before any of it is built.

A byte may stand for an object of 64, and building an object takes time that the event loop waits. So the heads are
counted: at a glance where there cannot be many, one by one where there may. Pure; knows no frame and no VM. Source:
https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import re

from luahost.parts import Parts

PART_ITEMS = 8_000
"""So many are counted without a rest, where they are counted one by one."""
MAX_HEADS = 10_000
"""Of longer lists and maps that are looked at one by one."""


def holds_more(data: bytes, most: int) -> Parts[bool]:
    """Whether there are more values and keys in it than that, at a glance where there are not."""
    if _heads(data) <= most and _declared(data, most) <= most:
        return False
    return (yield from _is_over(data, most))


_NO_HEADS = bytes((*range(0x80), *range(0xA0, 0xDC)))
"""All bytes but those that may stand for a table or for a number that is an object; ASCII has none of those."""

_SINGLES = b"\xc0\xc2\xc3"  # nil, false, true
_RUN = re.compile(rb"[\x00-\x9f\xc0\xc2\xc3\xe0-\xff]+")


def _heads(data: bytes) -> int:
    return len(data.translate(None, _NO_HEADS))


def _declared(data: bytes, enough: int) -> int:
    """At least how many items the longer lists and maps of this say they have; may count what is in texts too."""
    count = looked = 0
    for head, width, of_each in ((b"\xdc", 2, 1), (b"\xdd", 4, 1), (b"\xde", 2, 2), (b"\xdf", 4, 2)):
        at = data.find(head)
        while at >= 0 and count <= enough:
            looked += 1
            if looked > MAX_HEADS:  # too many to look at: the careful way
                return enough + 1
            count += of_each * int.from_bytes(data[at + 1 : at + 1 + width], "big")
            at = data.find(head, at + 1)
    return count


def _is_over(data: bytes, most: int) -> Parts[bool]:
    """Whether this is more values and keys than `most`; stops when it knows. Decoding tells what is no value."""
    at, end, count, rest_at = 0, len(data), 0, PART_ITEMS
    try:
        while count <= most < count + end - at:
            if count > rest_at:
                rest_at = count + PART_ITEMS
                yield
            byte = data[at]
            count += 1
            if byte < 0xA0 or byte >= 0xE0 or byte in _SINGLES:  # a small number, or the head of a small table
                stop = _RUN.match(data, at, at + most + 1).end()  # type: ignore[union-attr]
                count, at = count + stop - at - 1, stop
            elif byte < 0xC0:
                at += 1 + (byte & 0x1F)
            elif byte in (0xC4, 0xD9):  # short bytes and texts: the most that are many
                at += 2 + data[at + 1]
            else:
                fixed, length = _SIZES[byte]
                if length:
                    at += int.from_bytes(data[at + 1 : at + 1 + length], "big")
                at += 1 + fixed + length
    except (KeyError, IndexError):
        return False
    return count > most


# byte → (bytes that follow it, bytes that say how many more follow): MessagePack's specification
_SIZES: dict[int, tuple[int, int]] = (
    {0xC4: (0, 1), 0xC5: (0, 2), 0xC6: (0, 4), 0xD9: (0, 1), 0xDA: (0, 2), 0xDB: (0, 4)}  # bytes, text
    | {0xC7: (1, 1), 0xC8: (1, 2), 0xC9: (1, 4)}  # extensions
    | {0xD4 + n: (1 + (1 << n), 0) for n in range(5)}
    | {0xCA: (4, 0), 0xCB: (8, 0)}  # floats
    | {0xCC + n: (1 << n, 0) for n in range(4)}  # unsigned
    | {0xD0 + n: (1 << n, 0) for n in range(4)}  # signed
    | {0xDC: (2, 0), 0xDD: (4, 0), 0xDE: (2, 0), 0xDF: (4, 0)}  # lists, maps
)
