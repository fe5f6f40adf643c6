"""What one piece of a Gemini answer says: bytes in, one shape out, streamed chunk, whole answer or error alike.

Around the shape stands what a `Frame` alone does not tell: what a finish reason means, what the counts count,
and where one JSON object ends when nothing but JSON marks it (an array, or lines amid an event stream).

Pure, and knows nothing of what came before or comes next: that is the decoder's. Sources: LLM_WIRE.md W26, W28–W30;
google/ai/generativelanguage/v1beta `GenerateContentResponse`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from luahost.wire.events import StopReason, Usage
from luahost.wire.lenient import NOT_READ, any_json, dicts, loose

# The members have the wire's own names: `loose` looks them up by these.


class FunctionCall(msgspec.Struct, gc=False):
    name: str | None = None
    id: str | None = None
    args: Any = None


class Blob(msgspec.Struct, gc=False):
    mimeType: str | None = None
    data: str | None = None
    fileUri: str | None = None


class Part(msgspec.Struct, gc=False):
    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None
    functionCall: FunctionCall | None = None
    inlineData: Blob | None = None
    fileData: Blob | None = None


class Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False):
    index: int | None = None
    content: Content | None = None
    finishReason: str | None = None
    finishMessage: str | None = None


class Feedback(msgspec.Struct, gc=False):
    blockReason: str | None = None
    blockReasonMessage: str | None = None


class Frame(msgspec.Struct, gc=False):
    candidates: list[Candidate] | None = None
    promptFeedback: Feedback | None = None
    usageMetadata: dict[str, Any] | None = None
    modelVersion: str | None = None
    responseId: str | None = None
    error: Any = None


_decode = msgspec.json.Decoder(Frame).decode


def read_frame(data: bytes) -> Frame | None:
    """ValueError if it is no JSON, None if it is JSON without an object; one in an array will do."""
    try:
        return _decode(data)
    except NOT_READ:
        value = any_json(data)
    if isinstance(value, list):
        value = next(iter(dicts(value)), None)
    return loose(Frame, value) if isinstance(value, dict) else None


def parse_usage(counts: dict[str, Any]) -> Usage | None:
    """usageMetadata as we count: `input` has the cached and the tools' prompts in it, `output` the thoughts."""
    said = counts.get
    thoughts = _count(said("thoughtsTokenCount"))
    usage = Usage(
        input=_sum(_count(said("promptTokenCount")), _count(said("toolUsePromptTokenCount"))),
        output=_sum(_count(said("candidatesTokenCount")), thoughts),
        reasoning=thoughts,
        cache_read=_count(said("cachedContentTokenCount")),
        total=_count(said("totalTokenCount")),
    )
    return None if usage == _NOTHING else usage


_NOTHING = Usage()


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _count(value: Any) -> int | None:
    if type(value) is int or type(value) is float:  # no bool
        return int(value) if 0 <= value < 1e15 else None
    return None


# finishReason -> our stop reason, and the failure's kind where it is one.
_FINISH: dict[str, tuple[StopReason, str | None]] = {
    "STOP": ("end_turn", None),  # also with calls
    "FUNCTION_CALL": ("tool_use", None),  # not Google's word; servers that imitate it say so
    "MAX_TOKENS": ("max_tokens", None),
    "SAFETY": ("content_filter", "content_filter"),
    "RECITATION": ("content_filter", "content_filter"),
    "BLOCKLIST": ("content_filter", "content_filter"),
    "PROHIBITED_CONTENT": ("content_filter", "content_filter"),
    "SPII": ("content_filter", "content_filter"),
    "MODEL_ARMOR": ("content_filter", "content_filter"),
    "MALFORMED_FUNCTION_CALL": ("malformed_tool_call", "malformed_tool_call"),
    "UNEXPECTED_TOOL_CALL": ("malformed_tool_call", "malformed_tool_call"),
    "TOO_MANY_TOOL_CALLS": ("malformed_tool_call", "malformed_tool_call"),
    "LANGUAGE": ("error", "invalid_request"),  # a language it does not speak: the same again will not help
    "MISSING_THOUGHT_SIGNATURE": ("error", "invalid_request"),
    "NO_IMAGE": ("error", "invalid_response"),
    "MALFORMED_RESPONSE": ("error", "server_error"),
    "OTHER": ("error", "server_error"),
}


def finish_meaning(reason: str | None) -> tuple[StopReason | None, str | None]:
    """Our stop reason, and the kind of failure it is if it is one; None for a word nobody knows."""
    word = (reason or "").upper()
    if word.startswith("IMAGE_"):
        return "content_filter", "content_filter"
    return _FINISH.get(word, (None, None))


_OPENING = re.compile(rb"\{")
_STRUCTURE = re.compile(rb'[{}"]')
_IN_A_STRING = re.compile(rb'["\\]')


class Objects:
    """Whole JSON objects out of bytes that hold one after the other, at any cut; what is between is skipped.

    `held`: how many bytes of an object wait that has not ended.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0  # looked at up to here
        self._depth = 0
        self._in_string = False

    @property
    def held(self) -> int:
        return len(self._bytes)

    def feed(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        text, at, start = self._bytes, self._at, 0
        text += data
        while True:
            wanted = _IN_A_STRING if self._in_string else _STRUCTURE if self._depth else _OPENING
            hit = wanted.search(text, at)
            if hit is None:
                at = len(text)
                break
            mark = hit[0]
            if mark == b"\\":
                if hit.end() == len(text):  # what it escapes has not come
                    at = hit.start()
                    break
                at = hit.end() + 1
                continue
            at = hit.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"{":
                start = start if self._depth else hit.start()
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    found.append(bytes(text[start:at]))
                    start = at
        if not self._depth:
            start = at
        del text[:start]
        self._at = at - start
        return found
