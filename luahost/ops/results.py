"""The one shape of an answer that is a no: {ok=false, error, error_kind, retryable, detail={…}}."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from luahost.errors import WorldError
from luahost.gate.policy import Refusal
from luahost.values import nearest
from luahost.wire.events import Failure

Result = dict[str, Any]


def as_text(content: bytes) -> str | bytes:
    """Bytes as a result has them: a text where they are UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def error(kind: str, message: str, *, retryable: bool = False, **detail: Any) -> Result:
    """A failed call; details that are None are left out."""
    return {
        "ok": False,
        "error": message,
        "error_kind": kind,
        "retryable": retryable,
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def invalid(field: str, message: str) -> Result:
    """Something in an options table is wrong."""
    return error("invalid_options", f"{field}: {message}" if field else message, field=field)


def refused(capability: str, refusal: Refusal, **detail: Any) -> Result:
    """The gate said no."""
    return error(
        refusal.kind,
        refusal.message,
        retryable=refusal.retryable,
        capability=capability,
        rule=refusal.rule,
        limit=refusal.limit,
        used=refusal.used,
        grant=refusal.grant or None,
        retry_after_s=refusal.retry_after_s,
        **detail,
    )


def from_world(world_error: WorldError) -> Result:
    """The transport failed."""
    return error(
        world_error.kind,
        world_error.message,
        retryable=world_error.retryable,
        retry_after_s=world_error.retry_after_s,
        phase=world_error.phase or None,
    )


def from_failure(failure: Failure) -> Result:
    """The server answered with a failure."""
    return error(
        failure.kind,
        failure.message,
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s,
        status=failure.status,
        provider_code=failure.provider_code,
        param=failure.param,
        phase=failure.phase,
    )


_WANTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`")
_INDEX = re.compile(r"\[(\d+)\]")  # msgspec counts a list from 0, Lua from 1
_NUMBER = re.compile(r"\[[^\]]*\]")
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "bytes": "a text that is not valid UTF-8",
    "null": "nothing",
}


def from_validation(problem: msgspec.ValidationError, known: tuple[str, ...]) -> Result:
    """Arguments of the wrong shape, msgspec's words made ours: the field, what was wanted, what came."""
    message, _, place = str(problem).partition(" - at `$")
    field = _INDEX.sub(lambda at: f"[{int(at[1]) + 1}]", place.rstrip("`").removeprefix(".opts").lstrip("."))
    above = _NUMBER.sub("", field) + "." if field else ""
    known = tuple(name.removeprefix(above) for name in known if name.startswith(above))
    known = tuple(name for name in known if "." not in name)
    if unknown := _UNKNOWN.search(message):
        name = unknown[1][:100]
        return invalid(f"{field}.{name}" if field else name, f"unknown option{nearest(name, known)}")
    if missing := _MISSING.search(message):
        name = missing[1]
        return invalid(f"{field}.{name}" if field else name, "is missing")
    if wanted := _WANTED.search(message):
        expected = [_WORDS.get(word, word) for word in wanted[1].split(" | ") if word != "null"]
        message = f"{' or '.join(expected)} expected, got {_WORDS.get(wanted[2], wanted[2])}"
    return invalid(field or "opts", message)
