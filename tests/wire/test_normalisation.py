"""The two tables of §2.5, one test a cell: what ends an answer, and what an error means, on every wire.

The cells' bytes are the shortest that a server could send for them, in the shape of its own documentation.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from luahost.wire.events import End, Event, ToolCall, Usage
from luahost.wire.messages import Conversation, Message, Options
from luahost.wire.wires import wire

SPOKEN = {
    "openai": ("openai", "openai", "gpt-4o"),
    "openai-responses": ("openai-responses", "openai", "gpt-5.4"),
    "anthropic": ("anthropic", "anthropic", "claude-sonnet-4-5"),
    "gemini": ("gemini", "gemini", "gemini-3-pro"),
    "ollama": ("ollama", "ollama", "llama3.2"),
}


def read(spoken: str, data: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> list[Event]:
    name, provider, model = SPOKEN[spoken]
    made = wire(name, provider).exchange(Conversation([Message("user", "hi")]), Options(model=model, stream=True))
    decoder = made.decoder(status=status, headers=headers or {}, now_s=0.0)
    events = decoder.feed(data) + decoder.close()
    assert [type(e) for e in events].count(End) == 1
    return events


def outcome(events: list[Event]) -> tuple[str, str | None, bool | None]:
    end = events[-1]
    assert isinstance(end, End)
    return end.stop_reason, end.failure and end.failure.kind, end.failure and end.failure.retryable


def sse(*frames: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)


# -- the shortest answers of each wire


def openai(reason: Any = "stop", **delta: Any) -> bytes:
    choices = [{"index": 0, "delta": delta or {"content": "hi"}, "finish_reason": None}]
    last = [{"index": 0, "delta": {}, "finish_reason": reason}]
    frames = [{"id": "c", "model": "m", "choices": choices}]
    return sse(*frames, {"id": "c", "model": "m", "choices": last}) + b"data: [DONE]\n\n"


def openai_call(arguments: str = "{}") -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]}


def responses(*items: Any, status: str = "completed", **more: Any) -> bytes:
    whole = {"id": "r", "model": "m", "status": status, "output": list(items), **more}
    return sse({"type": f"response.{status}", "response": whole})


SAID = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "hi"}]}
REFUSED = {"type": "message", "id": "m", "content": [{"type": "refusal", "refusal": "no"}]}


def responses_call(arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": arguments}


def anthropic(reason: str, block: Any = None, *deltas: Any, **more: Any) -> bytes:
    block = block or {"type": "text", "text": "hi"}
    frames = [
        {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, **more}},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {f['type']}\n".encode() + sse(f) for f in frames)


USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
HALF = {"type": "input_json_delta", "partial_json": '{"x":'}


def gemini(reason: str | None, *parts: Any, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if reason is not None:
        candidate["finishReason"] = reason
    return sse({"candidates": [candidate], "modelVersion": "m", **more}).replace(b"\n", b"\r\n")


HI = {"text": "hi"}
CALL = {"functionCall": {"name": "f", "args": {}}}
FILTERS = [
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
]
BLOCKS = ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"]
MALFORMED = ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"]


def ollama(reason: str | None, *, done: bool = True, **said: Any) -> bytes:
    message = {"role": "assistant", "content": "hi", **said}
    frame = {"model": "m", "message": message, "done": done} | ({"done_reason": reason} if reason else {})
    return json.dumps(frame).encode() + b"\n"


OLLAMA_CALLS = [{"function": {"name": "f", "arguments": {}}}]

# -- the first table: what ends an answer

CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
HELD = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
OVERFLOW = {"code": "context_length_exceeded", "message": "m"}

Cell = tuple[str, str, str, bytes]  # stop reason, wire, the wire's word, the bytes
STOPS: list[Cell] = [
    ("end_turn", "openai", "stop", openai("stop")),
    ("end_turn", "openai-responses", "completed", responses(SAID)),
    ("end_turn", "anthropic", "end_turn", anthropic("end_turn")),
    ("end_turn", "gemini", "STOP", gemini("STOP", HI)),
    ("end_turn", "ollama", "stop", ollama("stop")),
    ("tool_use", "openai", "tool_calls", openai("tool_calls", **openai_call())),
    (
        "tool_use",
        "openai",
        "function_call",
        openai("function_call", function_call={"name": "f", "arguments": "{}"}),
    ),
    ("tool_use", "openai", "stop with calls", openai("stop", **openai_call())),
    ("tool_use", "openai-responses", "completed with a call", responses(responses_call())),
    ("tool_use", "anthropic", "tool_use", anthropic("tool_use", USE)),
    ("tool_use", "gemini", "STOP with functionCall", gemini("STOP", CALL)),
    ("tool_use", "ollama", "stop with tool_calls", ollama("stop", tool_calls=OLLAMA_CALLS)),
    ("max_tokens", "openai", "length", openai("length")),
    ("max_tokens", "openai-responses", "max_output_tokens", responses(SAID, **CUT)),
    ("max_tokens", "anthropic", "max_tokens", anthropic("max_tokens")),
    ("max_tokens", "gemini", "MAX_TOKENS", gemini("MAX_TOKENS", HI)),
    ("max_tokens", "ollama", "length", ollama("length")),
    ("end_turn", "openai", "stop, of a stop sequence", openai("stop")),
    ("stop_sequence", "anthropic", "stop_sequence", anthropic("stop_sequence", stop_sequence="x")),
    ("end_turn", "gemini", "STOP, of a stop sequence", gemini("STOP", HI)),
    ("end_turn", "ollama", "stop, of a stop sequence", ollama("stop")),
    ("content_filter", "openai", "content_filter", openai("content_filter")),
    ("refusal", "openai", "delta.refusal", openai("stop", refusal="no")),
    ("refusal", "openai-responses", "a refusal part", responses(REFUSED)),
    ("content_filter", "openai-responses", "content_filter", responses(SAID, **HELD)),
    ("refusal", "anthropic", "refusal", anthropic("refusal")),
    *(("content_filter", "gemini", word, gemini(word)) for word in FILTERS),
    *(
        ("content_filter", "gemini", f"blockReason {word}", sse({"promptFeedback": {"blockReason": word}}))
        for word in BLOCKS
    ),
    ("context_limit", "openai", "an error in the stream", sse({"error": OVERFLOW})),
    ("context_limit", "openai-responses", "failed", responses(status="failed", error=OVERFLOW)),
    ("context_limit", "anthropic", "model_context_window_exceeded", anthropic("model_context_window_exceeded")),
    ("pause", "anthropic", "pause_turn", anthropic("pause_turn")),
    ("malformed_tool_call", "openai", "args not JSON", openai("tool_calls", **openai_call('{"x":'))),
    ("malformed_tool_call", "openai-responses", "args not JSON", responses(responses_call('{"x":'))),
    ("malformed_tool_call", "anthropic", "args not JSON", anthropic("tool_use", USE, HALF)),
    *(("malformed_tool_call", "gemini", word, gemini(word)) for word in MALFORMED),
    ("error", "openai", "finish_reason error", openai("error")),
    (
        "error",
        "openai-responses",
        "failed",
        responses(status="failed", error={"code": "server_error", "message": "m"}),
    ),
    ("error", "anthropic", "error event", sse({"type": "error", "error": {"type": "api_error", "message": "m"}})),
    ("error", "gemini", "OTHER", gemini("OTHER")),
    ("error", "gemini", "LANGUAGE", gemini("LANGUAGE")),
    ("error", "ollama", "error line", ollama(None, done=False) + b'{"error":"boom"}\n'),
    ("stream_incomplete", "openai", "EOF, no finish_reason", openai().split(b"\n\n")[0] + b"\n\n"),
    ("stream_incomplete", "openai-responses", "EOF", sse({"type": "response.output_text.delta", "delta": "h"})),
    ("stream_incomplete", "anthropic", "EOF, no message_stop", anthropic("end_turn").rpartition(b"event: ")[0]),
    ("stream_incomplete", "gemini", "EOF, no finishReason", gemini(None, HI)),
    ("stream_incomplete", "ollama", "EOF, no done", ollama(None, done=False)),
]
FAILING = {"refusal", "content_filter", "context_limit", "malformed_tool_call", "error", "stream_incomplete"}


@pytest.mark.parametrize(("stop", "spoken", "word", "data"), STOPS, ids=[f"{c[0]}-{c[1]}-{c[2]}" for c in STOPS])
def test_stop_reason(stop: str, spoken: str, word: str, data: bytes) -> None:
    events = read(spoken, data)
    reason, kind, _ = outcome(events)
    assert reason == stop
    assert (kind is not None) == (stop in FAILING)
    if stop != "tool_use":  # and a call is handed out nowhere else
        assert not any(isinstance(e, ToolCall) and e.arguments is not None for e in events)


# -- the second table: what an error means. (kind, retryable, wire, what it is, status, body); status 200: in the stream


def oa(code: str | None = None, type: str | None = None, message: str = "m") -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def an(type: str, message: str = "m") -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message}, "request_id": "r"}


def ge(code: int, status: str, message: str = "m", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_DAY = {"@type": "…QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}
TOO_LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."

KINDS: list[tuple[str, bool, str, str, int, Any]] = [
    ("auth_error", False, "openai", "401", 401, oa("invalid_api_key", "invalid_request_error")),
    ("auth_error", False, "openai-responses", "401", 401, oa("invalid_api_key", "invalid_request_error")),
    ("auth_error", False, "openai", "403", 403, oa(None, "permission_error")),
    ("auth_error", False, "anthropic", "authentication_error", 401, an("authentication_error")),
    ("auth_error", False, "anthropic", "permission_error", 403, an("permission_error")),
    ("auth_error", False, "gemini", "API_KEY_INVALID", 400, ge(400, "INVALID_ARGUMENT", "m", BAD_KEY)),
    ("auth_error", False, "gemini", "PERMISSION_DENIED", 403, ge(403, "PERMISSION_DENIED")),
    ("auth_error", False, "ollama", "401", 401, {"error": "unauthorized"}),
    ("quota", False, "openai", "402", 402, {"error": {"code": 402, "message": "no credits"}}),
    ("quota", False, "openai", "insufficient_quota", 429, oa("insufficient_quota", "insufficient_quota")),
    ("quota", False, "openai-responses", "insufficient_quota", 429, oa("insufficient_quota", "insufficient_quota")),
    ("quota", False, "openai", "organization_spend_limit_exceeded", 429, oa("organization_spend_limit_exceeded")),
    ("quota", False, "anthropic", "billing_error", 402, an("billing_error")),
    ("quota", False, "anthropic", "enforced_spend_limit_reached", 429, an("enforced_spend_limit_reached")),
    ("quota", False, "gemini", "PerDay", 429, ge(429, "RESOURCE_EXHAUSTED", "m", PER_DAY)),
    ("rate_limit", True, "openai", "429", 429, oa("rate_limit_exceeded", "requests")),
    ("rate_limit", True, "openai-responses", "429", 429, oa("rate_limit_exceeded", "requests")),
    ("rate_limit", True, "anthropic", "rate_limit_error", 429, an("rate_limit_error")),
    ("rate_limit", True, "gemini", "RESOURCE_EXHAUSTED", 429, ge(429, "RESOURCE_EXHAUSTED")),
    ("rate_limit", True, "ollama", "429", 429, {"error": "too many requests"}),
    ("overloaded", True, "openai", "503 server_is_overloaded", 503, oa("server_is_overloaded", "server_error")),
    ("overloaded", True, "openai", "llama.cpp loading", 503, {"error": {"code": 503, "type": "unavailable_error"}}),
    ("overloaded", True, "anthropic", "529", 529, an("overloaded_error")),
    ("overloaded", True, "anthropic", "overloaded_error in the stream", 200, an("overloaded_error")),
    ("overloaded", True, "gemini", "503", 503, ge(503, "UNAVAILABLE")),
    ("overloaded", True, "ollama", "503", 503, {"error": "server busy, please try again"}),
    ("server_error", True, "openai", "500", 500, oa(None, "server_error")),
    ("server_error", True, "openai-responses", "500", 500, oa(None, "server_error")),
    ("server_error", True, "anthropic", "api_error", 500, an("api_error")),
    ("server_error", True, "anthropic", "timeout_error", 504, an("timeout_error")),
    ("server_error", True, "gemini", "INTERNAL", 500, ge(500, "INTERNAL")),
    ("server_error", True, "ollama", "502", 502, {"error": "bad gateway"}),
    ("context_overflow", False, "openai", "context_length_exceeded", 400, oa("context_length_exceeded")),
    ("context_overflow", False, "openai-responses", "context_length_exceeded", 400, oa("context_length_exceeded")),
    (
        "context_overflow",
        False,
        "openai",
        "llama.cpp",
        400,
        {"error": {"code": 400, "type": "exceed_context_size_error"}},
    ),
    (
        "context_overflow",
        False,
        "anthropic",
        "prompt is too long",
        400,
        an("invalid_request_error", "prompt is too long: 9 > 8"),
    ),
    ("context_overflow", False, "gemini", "token count", 400, ge(400, "INVALID_ARGUMENT", TOO_LONG)),
    ("too_large", False, "openai", "413", 413, oa()),
    ("too_large", False, "anthropic", "request_too_large", 413, an("request_too_large")),
    (
        "content_filter",
        False,
        "openai",
        "OpenRouter 403 moderation",
        403,
        {"error": {"code": 403, "message": "m", "metadata": {"reasons": ["hate"]}}},
    ),
    ("content_filter", False, "openai", "content_policy_violation", 400, oa("content_policy_violation")),
    ("content_filter", False, "openai-responses", "invalid_prompt", 400, oa("invalid_prompt")),
    ("invalid_request", False, "openai", "400", 400, oa(None, "invalid_request_error")),
    ("invalid_request", False, "openai", "422", 422, {"detail": [{"loc": ["body", "x"], "msg": "m"}]}),
    ("invalid_request", False, "openai-responses", "400", 400, oa(None, "invalid_request_error")),
    ("invalid_request", False, "anthropic", "invalid_request_error", 400, an("invalid_request_error")),
    ("invalid_request", False, "gemini", "INVALID_ARGUMENT", 400, ge(400, "INVALID_ARGUMENT")),
    ("invalid_request", False, "ollama", "400", 400, {"error": "invalid options"}),
    ("not_found", False, "openai", "404", 404, oa("model_not_found")),
    ("not_found", False, "openai-responses", "404", 404, oa("model_not_found")),
    ("not_found", False, "anthropic", "not_found_error", 404, an("not_found_error")),
    ("not_found", False, "gemini", "NOT_FOUND", 404, ge(404, "NOT_FOUND")),
    ("not_found", False, "ollama", "404", 404, {"error": "model 'x' not found"}),
    *(("parse_error", True, name, "HTML at 200", 200, b"<html>busy</html>") for name in SPOKEN),
]


@pytest.mark.parametrize(
    ("kind", "retryable", "spoken", "what", "status", "said"), KINDS, ids=[f"{c[0]}-{c[2]}-{c[3]}" for c in KINDS]
)
def test_error_kind(kind: str, retryable: bool, spoken: str, what: str, status: int, said: Any) -> None:
    data = said if isinstance(said, bytes) else sse(said) if status == 200 else json.dumps(said).encode()
    _, found, again = outcome(read(spoken, data, status=status))
    assert (found, again) == (kind, retryable)


@pytest.mark.parametrize("spoken", SPOKEN)
def test_the_servers_wish_to_wait_is_heard_on_every_wire(spoken: str) -> None:
    end = read(spoken, b"{}", status=429, headers={"Retry-After": "7"})[-1]
    assert isinstance(end, End) and end.failure is not None
    assert (end.failure.kind, end.failure.retry_after_s) == ("rate_limit", 7.0)


COUNTED = {  # R11: what is inside what, in the end, is the same
    "openai": sse(
        {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]},
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 6,
                "total_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
        },
    ),
    "openai-responses": responses(
        SAID,
        usage={
            "input_tokens": 10,
            "output_tokens": 6,
            "total_tokens": 16,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 5},
        },
    ),
    "anthropic": anthropic("end_turn").replace(
        b'"usage": {"input_tokens": 1}',
        b'"usage": {"input_tokens": 6, "cache_read_input_tokens": 4, "output_tokens": 6, "output_tokens_details": {"thinking_tokens": 5}}',
    ),
    "gemini": gemini(
        "STOP",
        HI,
        usageMetadata={
            "promptTokenCount": 10,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 1,
            "thoughtsTokenCount": 5,
            "totalTokenCount": 16,
        },
    ),
}


@pytest.mark.parametrize("spoken", COUNTED)
def test_r11_usage_means_the_same_on_every_wire(spoken: str) -> None:
    usage = next(e for e in read(spoken, COUNTED[spoken]) if isinstance(e, Usage))
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (10, 4, 6, 5)
    assert usage.total in (16, None)
