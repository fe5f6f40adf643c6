"""What one frame of an OpenAI answer says: bytes in, one shape out, whatever the server's accent.

A streamed chunk, a whole completion and an error are all a `Frame`. It is read by a typed decoder that skips
what nobody asks for; a frame with a field of an unlikely type is looked at again untyped rather than lost.
Around it stands what is said in several ways: content in parts, tool calls, token counts, finish reasons.

Pure, and knows nothing of what came before or comes next: that is the decoder's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from luahost.wire.events import StopReason, Usage
from luahost.wire.lenient import NOT_READ, any_json, dicts, loose
from luahost.wire.tool_calls import Fragment


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class ToolDelta(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None  # Google's: the signature of its thoughts


class Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    thinking: str | None = None
    reasoning_details: Any = None  # OpenRouter's
    refusal: str | None = None
    images: Any = None  # OpenRouter's
    tool_calls: list[ToolDelta] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class Frame(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Any = None
    x_groq: Any = None  # Groq's: the usage stands in it
    error: Any = None


decode_frame = msgspec.json.Decoder(Frame).decode  # the fast way; raises NOT_READ where `read_frame` helps


def read_frame(data: bytes, *, unwrap: bool = False) -> Frame | None:
    """ValueError if it is no JSON, None if it is JSON but no object. `unwrap`: one in an array will do."""
    try:
        return decode_frame(data)
    except NOT_READ:
        value = any_json(data)
    if unwrap and isinstance(value, list):
        value = next(iter(dicts(value)), None)
    return loose(Frame, value) if isinstance(value, dict) else None


def bare_error(data: bytes) -> dict[str, Any] | None:
    """Older vLLM: the frame itself is the error, `{"object":"error","message":…}`."""
    try:
        value = any_json(data)
    except ValueError:
        return None
    if isinstance(value, dict) and "error" in (value.get("object"), value.get("type")):
        return value
    return None


def spread(parts: Any) -> Iterator[Delta]:
    """Content as an array of typed parts, each as if it had come alone; Mistral sends its reasoning so."""
    for part in dicts(parts):
        text, refusal, thinking = part.get("text"), part.get("refusal"), part.get("thinking")
        if isinstance(text, str):
            yield Delta(text)
        if isinstance(refusal, str):
            yield Delta(refusal=refusal)
        if isinstance(thinking, list):
            thinking = "".join(p["text"] for p in dicts(thinking) if isinstance(p.get("text"), str))
        if isinstance(thinking, str):
            yield Delta(thinking=thinking)
        if "image_url" in part:
            yield Delta(images=[part])


class Details:
    """OpenRouter's reasoning_details: what the model behind it wants back, unmodified, out of the pieces of a
    stream. Pieces of one detail have its index and type; their texts are joined, of all else the last word counts.
    """

    _JOINED = ("text", "summary", "data")

    def __init__(self) -> None:
        self._found: list[tuple[dict[str, Any], dict[str, list[str]]]] = []  # a detail, and its texts in pieces
        self._known: dict[tuple[int, str], int] = {}

    def add(self, details: Any) -> int:
        """About how many bytes more are held."""
        size = 0
        for detail in dicts(details):
            index, kind = detail.get("index"), detail.get("type")
            key = (index, kind) if isinstance(index, int) and isinstance(kind, str) else None
            place = self._known.get(key, len(self._found)) if key else len(self._found)
            if place == len(self._found):
                self._found.append(({}, {}))
                if key:
                    self._known[key] = place
            whole, pieces = self._found[place]
            for name, value in detail.items():
                if name in self._JOINED and isinstance(value, str):
                    pieces.setdefault(name, []).append(value)
                    whole.setdefault(name, None)  # its place
                elif value is not None or name not in whole:
                    whole[name] = value
            size += len(str(detail)) + 128
        return size

    def whole(self) -> list[dict[str, Any]]:
        """The details so far, each once."""
        return [whole | {name: "".join(texts) for name, texts in pieces.items()} for whole, pieces in self._found]


_NO_FUNCTION = Function()


def fragments(deltas: list[ToolDelta]) -> list[Fragment]:
    found: list[Fragment] = []
    for delta in deltas:
        function = delta.function or _NO_FUNCTION
        extra = delta.extra_content
        state = {"wire": "openai", "extra_content": extra} if isinstance(extra, dict) and extra else None
        found.append(Fragment(delta.index, delta.id, function.name, function.arguments, state))
    return found


# Where each count may stand, the first found counts.
_USAGE: dict[str, tuple[tuple[str, ...], ...]] = {
    "input": (("prompt_tokens",), ("input_tokens",)),
    "output": (("completion_tokens",), ("output_tokens",)),
    "reasoning": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("reasoning_tokens",),
    ),
    "cache_read": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),
    ),
    "cache_write": (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
    ),
    "total": (("total_tokens",),),
    "cost_usd": (("cost",),),
}


def parse_usage(value: Any) -> Usage | None:
    """What a server counted, or None if it said nothing; nonsense is as if not said."""
    if not isinstance(value, dict):
        return None
    counted: dict[str, Any] = {}
    for name, paths in _USAGE.items():
        for where in paths:
            found: Any = value
            for key in where:
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e15:
                counted[name] = float(found) if name == "cost_usd" else int(found)
                break
    return Usage(**counted) if counted else None


# finish_reason (lower case) -> our stop reason, and the failure's kind where it is one.
_FINISH: dict[str, tuple[StopReason, str | None]] = {
    "stop": ("end_turn", None),
    "end_turn": ("end_turn", None),
    "eos": ("end_turn", None),
    "length": ("max_tokens", None),
    "max_tokens": ("max_tokens", None),
    "model_length": ("max_tokens", None),  # Mistral
    "tool_calls": ("tool_use", None),
    "tool_use": ("tool_use", None),
    "function_call": ("tool_use", None),
    "content_filter": ("content_filter", "content_filter"),
    "safety": ("content_filter", "content_filter"),
    "sensitive": ("content_filter", "content_filter"),  # GLM
    "refusal": ("refusal", "content_filter"),
    "malformed_function_call": ("malformed_tool_call", "malformed_tool_call"),
    "error": ("error", "server_error"),
    "network_error": ("error", "server_error"),  # GLM
    "insufficient_system_resource": ("error", "overloaded"),  # DeepSeek
}


def finish_meaning(reason: str | None) -> tuple[StopReason | None, str | None]:
    """Our stop reason, and the kind of failure it is if it is one; None for a word nobody knows."""
    return _FINISH.get((reason or "").lower(), (None, None))
