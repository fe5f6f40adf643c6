"""What one event of an Anthropic answer says: bytes in, one shape out, whatever the server's accent.

An event of a stream, a whole message and an error are all a `Frame`. It is read by a typed decoder that skips
what nobody asks for; a frame with a member of an unlikely type is looked at again untyped rather than lost.
Around it stand token counts and stop reasons.

Pure, and knows nothing of what came before or comes next: that is the decoder's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from luahost.wire.events import StopReason, Usage
from luahost.wire.failures import clean
from luahost.wire.lenient import NOT_READ, any_json, loose


class Block(msgspec.Struct, gc=False):
    """A content block: as it starts, or whole."""

    type: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class Delta(msgspec.Struct, gc=False):
    """A piece of a block; or, without a type, what message_delta says of the whole answer."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class Frame(msgspec.Struct, gc=False):
    """An event of a stream; its second half is a message, whether whole or within message_start."""

    type: str | None = None
    index: int | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    message: Any = None
    error: Any = None
    usage: Any = None

    id: str | None = None
    model: str | None = None
    content: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


_decode_frame = msgspec.json.Decoder(Frame).decode


def read_frame(data: bytes) -> Frame | None:
    """ValueError if it is no JSON, None if it is JSON but no object."""
    try:
        return _decode_frame(data)
    except NOT_READ:
        value = any_json(data)
    return loose(Frame, value) if isinstance(value, dict) else None


# Usage's name -> where the count stands.
_COUNTS: dict[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "reasoning": ("output_tokens_details", "thinking_tokens"),
    "cache_read": ("cache_read_input_tokens",),
    "cache_write": ("cache_creation_input_tokens",),
}


def counts(value: Any) -> dict[str, int]:
    """The counts a server said, under Usage's names; nonsense is as if not said.

    They are cumulative and need not be repeated: a later word goes over an earlier one (`|=`).
    """
    counted: dict[str, int] = {}
    for name, where in _COUNTS.items():
        found = value
        for key in where:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e15:
            counted[name] = int(found)
    return counted


def as_usage(counted: dict[str, int]) -> Usage | None:
    """On the wire input_tokens is what no cache had a part in (R11); in Usage it is all of the input."""
    if not counted:
        return None
    cached = counted.get("cache_read", 0) + counted.get("cache_write", 0)
    whole = {"input": counted["input"] + cached} if "input" in counted else {}
    return Usage(**(counted | whole))


def parse_usage(value: Any) -> Usage | None:
    """What a server counted, or None if it said nothing."""
    return as_usage(counts(value))


# stop_reason -> our stop reason, and the failure's kind where it is one.
_STOPS: dict[str, tuple[StopReason, str | None]] = {
    "end_turn": ("end_turn", None),
    "tool_use": ("tool_use", None),
    "max_tokens": ("max_tokens", None),
    "stop_sequence": ("stop_sequence", None),
    "pause_turn": ("pause", None),
    "compaction": ("pause", None),  # beta: the history was compacted, the answer is still to come
    "refusal": ("refusal", "content_filter"),
    "content_filter": ("content_filter", "content_filter"),  # gateways and mocks
    "model_context_window_exceeded": ("context_limit", "context_overflow"),
}


def stop_meaning(reason: str | None, sequence: str | None) -> tuple[StopReason | None, str | None]:
    """Our stop reason, and the kind of failure it is if it is one; None for a word nobody knows."""
    stop, kind = _STOPS.get(reason or "", (None, None))
    if stop == "end_turn" and sequence:  # llama.cpp
        stop = "stop_sequence"
    return stop, kind


def refusal(details: Any) -> tuple[str, str | None]:
    """Why the model refused, in words ("" if it does not say), and the category."""
    found = details if isinstance(details, dict) else {}
    why, category = (clean(v) if isinstance(v, str) else "" for v in map(found.get, ("explanation", "category")))
    return why, category[:100] or None
