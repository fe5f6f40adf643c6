"""Reading JSON that nearly is what it should be: whatever can be understood is taken, nothing is guessed.

The typed decoder of a wire is fast and strict. What it refuses is looked at again here: `any_json` reads the
bytes without a type, and `loose` puts those members into the type that fit it. So one odd field costs
that field, not the frame. Slow beside the typed decoder, and meant for the rare frame only.

Knows no wire: the types are the caller's, plain `msgspec.Struct`s all of whose fields have defaults.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec

NOT_READ = (msgspec.MsgspecError, ValueError, RecursionError)  # all a decoder of msgspec raises on bytes

_S = TypeVar("_S", bound=msgspec.Struct)
_SURROGATE = re.compile("[\ud800-\udfff]")


MANY_BRACKETS, MANY_COMMAS = 300_000, 1_000_000
"""More than that in one JSON text, and reading it as objects would keep everybody waiting."""

_NO_MARKS = bytes(set(range(256)) - set(b"[{,"))

ANSWER_SHARE = 8
"""An answer may have this part of that: no model says so much, and reading it makes more of it than objects."""

ODD_BYTES = 1 << 20
"""What is odd is read up to this size: it takes ten times as long."""


def is_heavy(text: bytes, share: int = 1) -> bool:
    """Whether the JSON may be too much to be read in one piece, whatever its size; `share`: of what is usual."""
    if len(text) * share <= MANY_BRACKETS:
        return False
    marks = text.translate(None, _NO_MARKS)
    commas = marks.count(b",") if len(marks) * share <= MANY_BRACKETS + MANY_COMMAS else MANY_COMMAS + 1
    return commas * share > MANY_COMMAS or (len(marks) - commas) * share > MANY_BRACKETS


def any_json(data: bytes) -> Any:
    """Any JSON, also with broken UTF-8, lone surrogates or raw control characters. ValueError if none, or much."""
    if len(data) > ODD_BYTES or is_heavy(data, 10):
        raise ValueError("too much")
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False, object_hook=_without_surrogates)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


_CUT_WORD = re.compile(r"\s*|-|\.|[eE][+-]?|t|tr|tru|f|fa|fal|fals|n|nu|nul|\\u?[0-9a-fA-F]{0,3}")


def is_cut(text: bytes) -> bool:
    """It is the beginning of a JSON object and not the whole of it."""
    if not text.startswith(b"{"):
        return False
    if len(text) > ODD_BYTES or is_heavy(text, 10):
        return not text.rstrip().endswith(b"}")
    said = text.decode("utf-8", "replace")
    try:
        json.loads(said, strict=False)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string") or bool(_CUT_WORD.fullmatch(said, error.pos))
    except RecursionError:
        return False
    return False


def _without_surrogates(value: dict[str, Any]) -> dict[str, Any]:
    """Half an emoji cannot be written as UTF-8 later; it becomes U+FFFD here."""
    return {key: _SURROGATE.sub("\ufffd", v) if isinstance(v, str) else v for key, v in value.items()}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def loose(kind: type[_S], value: dict[str, Any]) -> _S:
    """What has the right type is taken, the rest is as if it were absent.

    A struct where a list of them was due is a list of one, and the other way round the first one counts.
    """
    kept: dict[str, Any] = {}
    for name, its_type, inner, many in _fields(kind):
        found = value.get(name)
        if inner is not None:
            items = [loose(inner, item) for item in dicts(found if isinstance(found, list) else [found])]
            kept[name] = items if many else next(iter(items), None)
            continue
        try:
            kept[name] = msgspec.convert(found, its_type, strict=False)
        except msgspec.ValidationError:
            continue
    return kind(**kept)


class _Field(NamedTuple):
    name: str
    type: Any
    inner: type[msgspec.Struct] | None  # the struct that it is, or is a list of
    many: bool


@cache  # msgspec evaluates the annotations anew each time
def _fields(kind: type[msgspec.Struct]) -> list[_Field]:
    fields: list[_Field] = []
    for field in msgspec.structs.fields(kind):
        inner, many = None, False
        for part in get_args(field.type):  # of `X | None`
            many = many or get_origin(part) is list
            struct = get_args(part)[0] if get_origin(part) is list else part
            if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
                inner = struct
        fields.append(_Field(field.name, field.type, inner, many))
    return fields
