"""The Gemini wire: recordings at every cut, both tables of §2.5, signatures there and back, and what encode writes."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from decoding import (
    SSE,
    Reader,
    Recording,
    assert_the_same_bytewise_and_at_random_cuts,
    bytewise,
    calls,
    decoded_in_any_pieces,
    end,
    failure,
    of_each,
    outcome,
    recordings,
    text,
    thinking,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.wire import gemini
from luahost.wire.events import End, Event, Keep, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.gemini import Decoder, Dialect, encode
from luahost.wire.messages import (
    THINKING,
    Block,
    Cache,
    Conversation,
    ImageBlock,
    Message,
    Options,
    State,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from luahost.wire.models import Models

JSON = "application/json; charset=UTF-8"


# ---- helpers


decode = Reader(Decoder, SSE, more=b"data: {}\n\n")


def frame(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\r\n\r\n"


def answer(*parts: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    candidate |= {} if finish is None else {"finishReason": finish}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "resp-1"} | more


def chunk(*parts: Any, finish: Any = None, **more: Any) -> bytes:
    return frame(answer(*parts, finish=finish, **more))


def call(name: Any = "f", args: Any = None, id: str | None = None, signature: str | None = None) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": name} | ({} if args is None else {"args": args})
    inner |= {} if id is None else {"id": id}
    return {"functionCall": inner} | ({} if signature is None else {"thoughtSignature": signature})


def counts(prompt: int | None = None, candidates: int | None = None, **more: int) -> dict[str, Any]:
    said = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, **more}
    return {"usageMetadata": {name: value for name, value in said.items() if value is not None}}


def error(code: int, status: str, message: str = "m", *details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


TEXT = chunk({"text": "hi"})
STOP = chunk(finish="STOP")
HI = {"text": "hi"}


def usage(events: list[Event]) -> Usage | None:
    return next((e for e in reversed(events) if isinstance(e, Usage)), None)


# What no mock sends: Google's own stream, with usage in each chunk, signatures, a call without an id.
GOOGLE = b"".join(
    [
        chunk({"text": "Let me ", "thought": True}, **counts(8, thoughtsTokenCount=3)),
        chunk({"text": "think.", "thought": True}, **counts(8, thoughtsTokenCount=9)),
        chunk({"text": "ha"}, **counts(8, 1, thoughtsTokenCount=9)),
        chunk({"text": "ha \u2028 \U0001f469"}, **counts(8, 2, thoughtsTokenCount=9)),
        chunk(call("f", {"x": "\u00e9"}, signature="c2ln"), call("g"), **counts(8, 6, thoughtsTokenCount=9)),
        chunk({"text": "", "thoughtSignature": "ZW5k"}, finish="STOP", **counts(8, 7, thoughtsTokenCount=9)),
    ]
)
ALL = [
    *recordings(decode, "/v1beta/", ("aimock",)),
    Recording("google", 200, {"content-type": SSE}, GOOGLE, decode),
]
ALL += [
    Recording(
        "array",
        200,
        {"content-type": JSON},
        json.dumps([answer(HI), answer(HI, finish="STOP")], indent=1).encode(),
        decode,
    )
]
STREAMS = [r for r in ALL if r.content_type == SSE or r.name == "array"]
BY_NAME = {r.name: r for r in ALL}
assert len(ALL) > 40
assert len(STREAMS) >= 14


# ---- recordings


@of_each(ALL)
def test_a_recording_decodes_the_same_whole_bytewise_and_at_random_cuts(recording: Recording) -> None:
    assert_the_same_bytewise_and_at_random_cuts(recording)


@of_each(STREAMS)
def test_s13_a_stream_cut_at_every_byte_is_a_prefix_and_incomplete(recording: Recording) -> None:
    body, whole = recording.body, recording.decode(recording.body)
    dropped = len(body) % 2 == 0
    for cut in range(len(body)):
        got = recording.decode(body[:cut], dropped=dropped)
        if outcome(got)[0] != "stream_incomplete":  # the last frame was in, only its blank line may be missing
            assert got == whole
            continue
        assert got[:-1] == whole[: len(got) - 1]
        assert not calls(got)
        assert failure(got).retryable
        assert ("broke" in failure(got).message) == dropped


@of_each([r for r in ALL if r.status >= 400])
def test_recorded_errors_are_one_end_with_the_failure(recording: Recording) -> None:
    events = recording.decode(recording.body)
    assert len(events) == 1
    kinds = {"401": "auth_error", "429": "rate_limit", "500": "server_error", "529": "overloaded"}
    kinds |= {"badjson": "invalid_request", "nomatch": "overloaded", "emptyobj": "overloaded"}
    assert failure(events).kind == next(kind for word, kind in kinds.items() if word in recording.name)
    assert failure(events).status == recording.status
    assert failure(events).retry_after_s == (2.0 if "429" in recording.name else None)


EXPECTED: dict[str, tuple[str, str | None]] = {
    "aimock/gemini_text": ("end_turn", None),
    "aimock/gemini_text_stream": ("end_turn", None),
    "aimock/gemini_length_stream": ("max_tokens", None),
    "aimock/gemini_tool_stream": ("tool_use", None),
    "aimock/gemini_noargs_tool": ("tool_use", None),
    "aimock/gemini_tool_then_text_stream": ("tool_use", None),
    "aimock/gemini_content_filter": ("content_filter", "content_filter"),
    "aimock/gemini_content_filter_stream": ("content_filter", "content_filter"),
    "aimock/gemini_cut_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/gemini_drop_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/gemini_garbage": ("error", "parse_error"),
    "aimock/gemini_garbage_stream": ("error", "parse_error"),
    "google": ("tool_use", None),
    "array": ("end_turn", None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recordings_end_as_they_should(name: str) -> None:
    assert outcome(BY_NAME[name].decode(BY_NAME[name].body)) == EXPECTED[name]


TWINS = [r.name for r in ALL if r.name + "_stream" in BY_NAME and r.status == 200]
TWINS = [name for name in TWINS if not name.endswith(("_cut", "_drop"))]
assert len(TWINS) > 10


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_and_its_completion_say_the_same(name: str) -> None:
    a, b = (BY_NAME[n].decode(BY_NAME[n].body) for n in (name, name + "_stream"))
    assert (text(a), thinking(a), calls(a), usage(a), a[-1]) == (text(b), thinking(b), calls(b), usage(b), b[-1])


# ---- §2.5, table of stop reasons, the Gemini column

FILTERS = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_OTHER"]
MALFORMED = ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"]
BLOCKED = frame({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"} | counts(4))
STOPS: list[tuple[str, bytes, str, str | None]] = [
    ("end_turn: STOP without calls", TEXT + STOP, "end_turn", None),
    ("tool_use: STOP with functionCall", chunk(call()) + STOP, "tool_use", None),
    ("max_tokens: MAX_TOKENS", TEXT + chunk(finish="MAX_TOKENS"), "max_tokens", None),
    ("stop_sequence: STOP", TEXT + STOP, "end_turn", None),
    *((f"content_filter: {r}", TEXT + chunk(finish=r), "content_filter", "content_filter") for r in FILTERS),
    ("content_filter: promptFeedback.blockReason", BLOCKED, "content_filter", "content_filter"),
    *((r, chunk(call()) + chunk(finish=r), "malformed_tool_call", "malformed_tool_call") for r in MALFORMED),
    ("malformed: args are no object", chunk(call(args=[1])) + STOP, "malformed_tool_call", "malformed_tool_call"),
    ("error: OTHER", TEXT + chunk(finish="OTHER"), "error", "server_error"),
    ("error: LANGUAGE", TEXT + chunk(finish="LANGUAGE"), "error", "invalid_request"),
    ("stream_incomplete: EOF, no finishReason", TEXT, "stream_incomplete", "stream_incomplete"),
]


@pytest.mark.parametrize(("stream", "stop", "kind"), [c[1:] for c in STOPS], ids=[c[0] for c in STOPS])
def test_table_of_stop_reasons(stream: bytes, stop: str, kind: str | None) -> None:
    events = decode(stream)
    assert outcome(events) == (stop, kind)
    assert bool(calls(events)) == (b"functionCall" in stream and (kind is None or b"args" in stream))


@pytest.mark.parametrize("reason", FILTERS + MALFORMED + ["OTHER", "LANGUAGE"])
def test_a_failing_reason_is_kept_as_the_wire_said_it_also_in_one_body(reason: str) -> None:
    body = json.dumps(answer(HI, finish=reason)).encode()
    events = decode(body, content_type=JSON)
    assert end(events).raw_reason == reason
    assert reason in failure(events).message
    assert outcome(events) == outcome(decode(TEXT + chunk(finish=reason)))


def test_context_limit_is_the_400_that_counts_tokens() -> None:
    body = error(
        400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed"
    )
    for events in (
        decode(json.dumps(body).encode(), status=400, content_type=JSON),
        decode(frame(body)),
    ):
        assert outcome(events) == ("context_limit", "context_overflow")


# ---- §2.5, table of error kinds, the Gemini cells

PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}
PER_MINUTE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}],
}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
ERRORS: list[tuple[str, dict[str, Any], str, bool]] = [
    ("auth_error: 401", error(401, "UNAUTHENTICATED"), "auth_error", False),
    ("auth_error: 403", error(403, "PERMISSION_DENIED"), "auth_error", False),
    ("auth_error: 400 API_KEY_INVALID", error(400, "INVALID_ARGUMENT", "m", BAD_KEY), "auth_error", False),
    ("quota: PerDay", error(429, "RESOURCE_EXHAUSTED", "m", PER_DAY, RETRY_INFO), "quota", False),
    ("rate_limit", error(429, "RESOURCE_EXHAUSTED", "quota", PER_MINUTE, RETRY_INFO), "rate_limit", True),
    ("overloaded: 503", error(503, "UNAVAILABLE"), "overloaded", True),
    ("server_error: 500", error(500, "INTERNAL"), "server_error", True),
    ("server_error: 504", error(504, "DEADLINE_EXCEEDED"), "server_error", True),
    ("too_large: 413", error(413, "INVALID_ARGUMENT"), "too_large", False),
    ("invalid_request: 400", error(400, "INVALID_ARGUMENT"), "invalid_request", False),
    ("not_found: 404", error(404, "NOT_FOUND"), "not_found", False),
]


@pytest.mark.parametrize(("body", "kind", "retryable"), [c[1:] for c in ERRORS], ids=[c[0] for c in ERRORS])
def test_table_of_error_kinds_whether_refused_in_band_or_in_an_array(
    body: dict[str, Any], kind: str, retryable: bool
) -> None:
    plain, listed = json.dumps(body).encode(), json.dumps([body], indent=2).encode()
    status = body["error"]["code"]
    for events in (
        decode(plain, status=status, content_type=JSON),
        decode(listed, status=status, content_type=JSON),
        decode(plain, content_type=JSON),
        decode(listed, content_type=JSON),
        decode(frame(body)),
        decode(TEXT, frame([body])),
        decode(TEXT, plain),
        decode(TEXT, listed),
    ):
        assert outcome(events) == ("error", kind)
        assert failure(events).retryable == retryable


def test_w30_retry_info_is_the_servers_wish_in_seconds() -> None:
    body = json.dumps(error(429, "RESOURCE_EXHAUSTED", "m", PER_MINUTE, RETRY_INFO)).encode()
    assert failure(decode(body, status=429, content_type=JSON)).retry_after_s == 45.837906927
    assert failure(decode(TEXT, body)).retry_after_s == 45.837906927


def test_parse_error_is_html_or_garbage_at_200() -> None:
    for body in (b"<html>busy", b"{bad", b"", b'{"candidates": [}'):
        assert outcome(decode(body, content_type=JSON)) == ("error", "parse_error")
    assert outcome(decode(TEXT, b"data: {oops}\r\n\r\n")) == ("error", "parse_error")
    assert failure(decode(b"<html>busy", content_type="text/html")).message.endswith("<html>busy")


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"candidates":[]}', json.dumps(counts(3)).encode()])
def test_u7_a_200_without_an_answer_is_never_ok(body: bytes) -> None:
    assert outcome(decode(body, content_type=JSON)) == ("error", "invalid_response")
    assert outcome(decode(frame(body))) == ("stream_incomplete", "stream_incomplete")


# ---- framing


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_s1_every_line_end_reads_the_same(line_end: bytes) -> None:
    stream = GOOGLE.replace(b"\r\n", line_end)
    assert decode(stream) == decode(GOOGLE)
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == decode(GOOGLE)


def test_s7_a_last_frame_without_a_blank_line_counts() -> None:
    assert decode((TEXT + STOP).rstrip()) == decode(TEXT, STOP)


def test_s8_done_is_not_googles_but_ends_at_once() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    decoder.feed(TEXT + STOP)
    assert decoder.answered
    assert not decoder.ended
    assert decoder.feed(frame(b"[DONE]")) == [End("end_turn", "STOP")]
    assert outcome(decode(TEXT, frame(b"[DONE]")))[0] == "stream_incomplete"


def test_s9_what_is_over_the_cap_is_too_large_in_every_framing() -> None:
    big = answer({"text": "x" * 2000})
    for pieces, content_type in (
        ([TEXT, frame(big)], SSE),
        ([json.dumps(big).encode()], JSON),
        ([b"[" + json.dumps(big).encode()], JSON),
        ([TEXT, b"[" + json.dumps(big).encode()], SSE),
        ([chunk(call(args={"x": "y" * 100}))] * 20, SSE),
    ):
        joined = b"".join(pieces)
        assert outcome(decode(*pieces, content_type=content_type, max_bytes=1000)) == ("error", "too_large")
        assert decode(*bytewise(joined), content_type=content_type, max_bytes=1000) == decode(
            joined, content_type=content_type, max_bytes=1000
        )


def test_s10_noise_between_frames_is_skipped_and_event_error_is_an_error() -> None:
    noise = (
        b": ping {\r\n\r\nevent: ping\r\ndata: pong\r\n\r\n"
        + frame(b"null")
        + frame({})
        + frame([])
        + frame(b": x")
    )
    assert decode(noise, TEXT, noise, STOP, noise) == decode(TEXT, STOP)
    for payload in (b"it broke", b'{"message":"it broke"}', b'{"error":{"message":"it broke"}}'):
        assert failure(decode(TEXT, b"event: error\ndata: " + payload + b"\n\n")).message == "it broke"


def test_s11_body_and_stream_are_told_apart_by_their_beginning() -> None:
    body = json.dumps(answer(HI, finish="STOP")).encode()
    for content_type in (SSE, JSON, ""):
        assert text(decode(b"\n", body, content_type=content_type)) == "hi"
        assert text(decode(b"\xef\xbb\xbf", TEXT, STOP, content_type=content_type)) == "hi"
        assert text(decode(b" [", body, b"]", content_type=content_type)) == "hi"


def test_s12_bare_json_lines_in_mid_stream_are_the_error_they_hold() -> None:
    body = error(503, "UNAVAILABLE", 'The model is "overloaded" {')
    for written in (
        json.dumps(body).encode(),
        json.dumps([body], indent=2).encode(),
        json.dumps(body, indent=1).encode(),
    ):
        for stream in (
            TEXT + written,
            TEXT + written + b"\r\n\r\n",
            TEXT.rstrip() + b"\n" + written,
            TEXT + written + TEXT,
        ):
            events = decode(stream)
            assert events[:2] == [Start("m", "resp-1"), Text("hi")]
            assert outcome(events) == ("error", "overloaded")
            assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == events


def test_s12_bare_json_ends_at_its_last_brace_without_waiting_for_the_server() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    decoder.feed(TEXT)
    events = decoder.feed(json.dumps(error(503, "UNAVAILABLE")).encode())
    assert decoder.ended
    assert outcome(events) == ("error", "overloaded")


def test_s12_an_array_is_read_as_it_comes() -> None:
    decoder = Decoder(status=200, content_type=JSON, headers={}, model="m")
    assert text(decoder.feed(b"[" + json.dumps(answer({"text": 'a\\"}{['})).encode())) == 'a\\"}{['
    assert text(decoder.feed(b",\n" + json.dumps(answer(HI, finish="STOP")).encode())) == "hi"
    assert decoder.close() == [End("end_turn", "STOP")]


def test_s12_an_escape_may_be_cut_and_what_stands_between_objects_is_not_held() -> None:
    odd = 'a\\"}}}}{ \\\\'  # one quote, so that a lost escape shows
    array = b"[" + b" " * 5000 + json.dumps(answer({"text": odd}, finish="STOP")).encode() + b"\n]"
    for pieces in ([array], [array[i : i + 1] for i in range(len(array))]):
        assert text(decode(*pieces, content_type=JSON, max_bytes=1000)) == odd


def test_s3_broken_utf8_and_lone_surrogates_are_replaced_and_the_stream_lives() -> None:
    for broken in (
        b'{"candidates":[{"content":{"parts":[{"text":"a\xff"}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}',
    ):
        assert text(decode(frame(broken), STOP)) == "a\ufffd"


# ---- content


def test_i21_equal_deltas_are_both_told() -> None:
    assert [e for e in decode(chunk({"text": "ha"}), chunk({"text": "ha"}), STOP) if isinstance(e, Text)] == [
        Text("ha"),
        Text("ha"),
    ]


def test_w26_thoughts_are_thinking_and_no_text() -> None:
    events = decode(chunk({"text": "hm", "thought": True}, {"text": "4"}), STOP)
    assert (thinking(events), text(events)) == ("hm", "4")
    only_thoughts = decode(chunk({"text": "hm", "thought": True}, finish="SOMETHING_NEW"))
    assert outcome(only_thoughts) == ("error", "invalid_response")


def test_w27_a_signature_stays_with_its_part() -> None:
    events = decode(
        chunk({"text": "hm", "thought": True, "thoughtSignature": "dA=="}),
        chunk({"text": "a"}),
        chunk({"text": "b", "thoughtSignature": "Yg=="}),
        chunk(call("f", signature="Zg=="), call("g")),
        chunk({"text": "", "thoughtSignature": "ZQ=="}, finish="STOP"),
    )
    own: State = {"wire": "gemini"}
    assert events == [
        Start("m", "resp-1"),
        Thinking("hm"),
        Keep(ThinkingBlock("hm", own | {"thoughtSignature": "dA=="})),
        Text("a"),
        Text("b"),
        Keep(TextBlock("b", own | {"thoughtSignature": "Yg=="})),
        Keep(TextBlock("", own | {"thoughtSignature": "ZQ=="})),
        ToolCall("call_resp1_0", "f", {}, "", own | {"thoughtSignature": "Zg=="}),
        ToolCall("call_resp1_1", "g", {}, "", None),
        End("tool_use", "STOP"),
    ]


def test_o46_calls_without_ids_get_ids_that_no_other_turn_has() -> None:
    ids: list[str] = []
    for response in ("abc", "abd", None):
        for prompt in (1, 2) if response is None else (1,):
            more = {"responseId": response} | counts(prompt)
            ids += [
                c.id
                for c in calls(
                    decode(
                        chunk(call(), call(), **more), STOP if response else chunk(finish="STOP", responseId=None)
                    )
                )
            ]
    assert len(ids) == len(set(ids)) == 8


def test_a_call_with_an_id_keeps_it_and_a_second_one_with_it_does_not() -> None:
    found = calls(decode(chunk(call(id="x"), call("g", id="x")), STOP))
    assert [(c.id, c.name, c.state) for c in found] == [
        ("x", "f", {"wire": "gemini", "id": "x"}),
        ("call_resp1_0", "g", {"wire": "gemini", "id": "x"}),
    ]


def test_u11_no_args_are_an_empty_object_and_u10_anything_else_is_none() -> None:
    no_args: list[Any] = [None, {}]
    for args in no_args:
        assert calls(decode(chunk(call(args=args)), STOP))[0].arguments == {}
    odd: list[Any] = [[], [1], "x", 3, True]
    for args in odd:
        assert calls(decode(chunk(call(args=args)), STOP))[0].arguments is None
    assert outcome(decode(chunk(call(None)), STOP)) == ("malformed_tool_call", "malformed_tool_call")


def test_u15_a_malformed_call_says_what_the_server_said_of_it_and_is_not_retried() -> None:
    candidate = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "Malformed function call: print(f())"}
    events = decode(frame({"candidates": [candidate]}))
    assert failure(events).message.endswith("Malformed function call: print(f())")
    assert not failure(events).retryable
    assert not calls(events)


def test_a_block_reason_says_why_and_keeps_the_usage() -> None:
    feedback = {"blockReason": "SAFETY", "blockReasonMessage": "not that"}
    for events in (
        decode(frame({"promptFeedback": feedback} | counts(4))),
        decode(json.dumps({"promptFeedback": feedback} | counts(4)).encode(), content_type=JSON),
    ):
        assert events[:2] == [Start("asked", ""), Usage(input=4)]
        assert end(events).raw_reason == "SAFETY"
        assert failure(events).message == "the server refused the prompt: not that"
    assert outcome(decode(frame({"promptFeedback": {"safetyRatings": []}}), TEXT, STOP)) == ("end_turn", None)


def test_max_tokens_hands_out_whole_calls_and_is_not_healed_by_a_later_stop() -> None:
    events = decode(chunk(call(), finish="MAX_TOKENS"), STOP)
    assert outcome(events) == ("max_tokens", None)
    assert len(calls(events)) == 1
    assert outcome(decode(chunk(HI, finish="STOP"), chunk(HI, finish="MAX_TOKENS"))) == ("max_tokens", None)
    assert outcome(decode(chunk(HI, finish="STOP"), chunk(finish="SAFETY"), STOP))[0] == "content_filter"


def test_w28_content_may_be_empty_or_absent() -> None:
    for candidate in ({"content": {}, "finishReason": "STOP"}, {"finishReason": "STOP"}):
        for events in (
            decode(frame({"candidates": [candidate]})),
            decode(json.dumps({"candidates": [candidate]}).encode(), content_type=JSON),
        ):
            assert events == [Start("asked", ""), End("end_turn", "STOP")]


def test_only_the_first_candidate_is_told() -> None:
    other = {"index": 1, "content": {"parts": [{"text": "no"}]}, "finishReason": "SAFETY"}
    assert text(decode(frame({"candidates": [other]}), TEXT, STOP)) == "hi"


def test_one_field_of_an_odd_type_does_not_lose_the_frame() -> None:
    odd = {"candidates": {"index": "0", "content": {"parts": {"text": "hi", "thought": []}}}, "responseId": 3}
    assert text(decode(frame(odd), STOP)) == "hi"


@pytest.mark.parametrize("reason", ["NEW_WORD", "FINISH_REASON_UNSPECIFIED"])
def test_an_unknown_finish_reason_is_a_turn_only_if_content_came(reason: str) -> None:
    assert decode(TEXT, chunk(finish=reason))[-1] == End("end_turn", reason)
    assert outcome(decode(chunk(finish=reason))) == ("error", "invalid_response")


# ---- usage


def test_w29_usage_counts_thoughts_as_output_and_the_cached_as_input() -> None:
    said = counts(
        100, 20, thoughtsTokenCount=30, toolUsePromptTokenCount=5, cachedContentTokenCount=64, totalTokenCount=155
    )
    assert gemini.parse_usage(said["usageMetadata"]) == Usage(105, 50, 30, 64, None, 155)
    assert gemini.parse_usage({"thoughtsTokenCount": 3}) == Usage(output=3, reasoning=3)
    for nothing in (
        {},
        {"promptTokenCount": None},
        {"promptTokenCount": -1},
        {"promptTokenCount": True},
        {"promptTokenCount": "3"},
    ):
        assert gemini.parse_usage(nothing) is None


def test_w29_usage_is_cumulative_and_the_last_word_wins() -> None:
    events = decode(
        chunk(HI, **counts(8, 1, cachedContentTokenCount=4)),
        chunk(HI, **counts(8, 1, cachedContentTokenCount=4)),
        chunk(HI, finish="STOP", **counts(8, 5)),
    )
    assert [e for e in events if isinstance(e, Usage)] == [
        Usage(input=8, output=1, cache_read=4),
        Usage(input=8, output=5, cache_read=4),
    ]


def test_u14_usage_of_a_stream_that_broke_off_is_what_was_counted_until_then() -> None:
    assert usage(decode(chunk(HI, **counts(8, 1)))) == Usage(input=8, output=1)
    assert usage(decode(TEXT, STOP)) is None


# ---- anything at all

SCRAPS = [TEXT, STOP, b"data: ", b"{", b"}", b'"', b"\\", b"[", b"]", b'"candidates":[', b"\n\n", b"\r", b": x\n"]
SCRAPS += [chunk(call()), b"\xef\xbb", b"\xff", frame({"error": 1}), b"<html>", b"event: error\n", frame(b"[DONE]")]
SCRAPS += [json.dumps(answer(HI)).encode(), json.dumps([error(503, "UNAVAILABLE")], indent=1).encode()]
KEYS = ["candidates", "index", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name"]
KEYS += ["args", "id", "finishReason", "finishMessage", "usageMetadata", "promptFeedback", "blockReason", "error"]
KEYS += ["modelVersion", "responseId", "promptTokenCount", "code", "message"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.dictionaries(
    st.sampled_from(["text", "thought", "thoughtSignature", "functionCall"]), VALUES, max_size=3
)
CHUNKS = st.builds(
    lambda parts, finish, more: chunk(*parts, finish=finish, **more),
    st.lists(PARTS, max_size=2),
    VALUES,
    st.dictionaries(
        st.sampled_from(["usageMetadata", "error", "responseId", "promptFeedback"]), VALUES, max_size=2
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(SCRAPS) | CHUNKS | st.binary(max_size=12) | VALUES.map(frame), max_size=8),
    st.sampled_from([200, 200, 200, 204, 302, 400, 429, 500]),
    st.sampled_from([SSE, JSON, ""]),
    st.booleans(),
)
def test_random_bytes_never_raise_and_end_exactly_once(
    pieces: list[bytes], status: int, content_type: str, dropped: bool
) -> None:
    events = decoded_in_any_pieces(decode, pieces, status=status, content_type=content_type, dropped=dropped)
    assert all(event.text for event in events if isinstance(event, Text | Thinking))


def test_a_thousand_event_stream_is_decoded_in_far_less_than_a_millisecond_each() -> None:
    stream = TEXT * 1000 + STOP
    start = time.thread_time()
    assert len(decode(stream)) == 1002
    assert time.thread_time() - start < 0.2


def test_s9_a_hostile_array_costs_no_more_than_its_bytes() -> None:
    start = time.thread_time()
    decode(b"[" + b'{"a":"\\' * 50_000, *([b"}"] * 50_000), content_type=JSON)
    assert time.thread_time() - start < 1


# ---- encode


def body(request: Any) -> Any:
    return json.loads(request.body)


def own(**state: str) -> State:
    return {"wire": "gemini", **state}


FOREIGN: State = {"wire": "anthropic", "thoughtSignature": "no", "id": "no", "signature": "no"}
TOOLS = [Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "number"}}}), Tool("g")]
FULL = Conversation(
    system="Be brief.",
    messages=[
        Message(
            "user",
            [TextBlock("look"), ImageBlock("image/png", b"\x89PNG"), ImageBlock("image/jpeg", url="https://x/y")],
        ),
        Message(
            "assistant",
            [
                ThinkingBlock("hm", own(thoughtSignature="dA==")),
                ThinkingBlock("theirs", FOREIGN),
                TextBlock("Let me"),
                TextBlock("", own(thoughtSignature="Yg==")),
                ToolUseBlock("a", "f", {"x": 1.0, "\u00e9": [None]}, own(id="a", thoughtSignature="YQ==")),
                ToolUseBlock("call_1_1", "g", {}),
            ],
        ),
        Message(
            "user", [TextBlock("go"), ToolResultBlock("call_1_1", "no", is_error=True), ToolResultBlock("a", "one")]
        ),
        Message("assistant", [TextBlock("t", FOREIGN), ToolUseBlock("toolu_3", "g", {}, FOREIGN)]),
        Message("user", [ToolResultBlock("toolu_3", "")]),
        Message("assistant", "done"),
        Message("user", "thanks"),
    ],
    tools=TOOLS,
)
OPTIONS = Options(
    model="gemini-2.5-flash",
    stream=True,
    temperature=0.5,
    top_p=1,
    max_tokens=9,
    seed=3,
    stop=["x"],
    tool_choice="auto",
)


def test_encode_writes_the_whole_conversation_as_the_wire_wants_it() -> None:
    request = encode(FULL, OPTIONS)
    assert (request.method, request.path) == (
        "POST",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    )
    assert request.headers == {"Content-Type": "application/json", "Accept": SSE}
    assert body(request) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                    {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x/y"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "dA=="},
                    {"text": "Let me"},
                    {"text": "", "thoughtSignature": "Yg=="},
                    {
                        "functionCall": {"id": "a", "name": "f", "args": {"x": 1.0, "\u00e9": [None]}},
                        "thoughtSignature": "YQ==",
                    },
                    {"functionCall": {"name": "g", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "a", "name": "f", "response": {"output": "one"}}},
                    {"functionResponse": {"name": "g", "response": {"error": "no"}}},
                    {"text": "go"},
                ],
            },
            {"role": "model", "parts": [{"text": "t"}, {"functionCall": {"name": "g", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {"output": ""}}}]},
            {"role": "model", "parts": [{"text": "done"}]},
            {"role": "user", "parts": [{"text": "thanks"}]},
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "f",
                        "description": "Does f.",
                        "parametersJsonSchema": {"type": "object", "properties": {"x": {"type": "number"}}},
                    },
                    {"name": "g", "description": ""},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 1,
            "maxOutputTokens": 9,
            "seed": 3,
            "stopSequences": ["x"],
        },
    }


def test_encode_leaves_out_what_was_not_said() -> None:
    request = encode(Conversation([Message("user", "hi")]), Options(model="m", tool_choice="auto", stop=[]))
    assert body(request) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert request.path == "/v1beta/models/m:generateContent"
    assert request.headers["Accept"] == "application/json"


def test_encode_gives_the_same_bytes_for_the_same_input_also_after_a_dump() -> None:
    again = msgspec.json.decode(msgspec.json.encode(FULL), type=Conversation)
    assert encode(FULL, OPTIONS).body == encode(again, OPTIONS).body


def test_a_longer_conversation_keeps_the_shorter_ones_turns_as_a_prefix() -> None:
    long = encode(FULL, OPTIONS).body
    short = encode(msgspec.structs.replace(FULL, messages=FULL.messages[:-1]), OPTIONS).body
    assert long.startswith(short[: short.index(b'],"tools"')])


def turn(events: list[Event]) -> list[Block]:
    """As a session stores it: text that a Keep repeats is in the Keep."""
    blocks: list[Block] = []
    said = ""
    for event in events:
        if isinstance(event, Text):
            said += event.text
        elif isinstance(event, Keep | ToolCall):
            block = (
                event.block
                if isinstance(event, Keep)
                else ToolUseBlock(event.id, event.name, event.arguments or {}, event.state)
            )
            if isinstance(block, TextBlock):
                assert said.endswith(block.text)
                said = said.removesuffix(block.text)
            blocks += [TextBlock(said), block] if said else [block]
            said = ""
    return [*blocks, TextBlock(said)] if said else blocks


def test_u8_a_turn_goes_back_with_each_signature_on_its_part() -> None:
    events = decode(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "a"}),
        chunk({"text": "b", "thoughtSignature": "Yg=="}),
        chunk(call("f", {"x": 1}, id="i", signature="Zg=="), call("g")),
        chunk({"text": "", "thoughtSignature": "ZQ=="}, finish="STOP"),
    )
    stored = msgspec.json.decode(msgspec.json.encode(Message("assistant", turn(events))), type=Message)
    results: list[Block] = [ToolResultBlock(c.id, "r") for c in reversed(calls(events))]
    sent = body(
        encode(
            Conversation([Message("user", "q"), stored, Message("user", results)]), Options(model="gemini-3-flash")
        )
    )
    assert sent["contents"][1]["parts"] == [
        {"text": "a"},
        {"text": "b", "thoughtSignature": "Yg=="},
        {"text": "", "thoughtSignature": "ZQ=="},
        {"functionCall": {"id": "i", "name": "f", "args": {"x": 1}}, "thoughtSignature": "Zg=="},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    assert [p["functionResponse"]["name"] for p in sent["contents"][2]["parts"]] == ["f", "g"]


@pytest.mark.parametrize(("model", "signed"), [("gemini-3-pro-preview", True), ("gemini-2.5-pro", False)])
def test_c7_another_providers_calls_get_the_documented_signature_where_one_is_due(model: str, signed: bool) -> None:
    blocks: list[Block] = [ToolUseBlock("toolu_1", "f", {}, FOREIGN), ToolUseBlock("toolu_2", "g", {}, FOREIGN)]
    sent = encode(Conversation([Message("user", "q"), Message("assistant", blocks)]), Options(model=model))
    first, second = body(sent)["contents"][1]["parts"]
    assert first.get("thoughtSignature") == (gemini.UNSIGNED if signed else None)
    assert "thoughtSignature" not in second
    assert "toolu" not in sent.body.decode()


def test_c6_turns_of_one_role_are_one_and_the_user_begins() -> None:
    messages = [
        Message("assistant", "a"),
        Message("assistant", ""),
        Message("user", [ToolResultBlock("gone", "lost")]),
        Message("user", "b"),
        Message("system", "s"),
        Message("user", "c"),
    ]
    assert body(encode(Conversation(messages, system="t"), Options(model="m"))) == {
        "systemInstruction": {"parts": [{"text": "t"}, {"text": "s"}]},
        "contents": [
            {"role": "user", "parts": [{"text": " "}]},
            {"role": "model", "parts": [{"text": "a"}]},
            {"role": "user", "parts": [{"text": "lost"}, {"text": "b"}, {"text": "c"}]},
        ],
    }


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("f", {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice_is_a_mode(choice: str, written: Any) -> None:
    sent = body(encode(FULL, Options(model="m", tool_choice=choice)))
    assert sent["toolConfig"] == {"functionCallingConfig": written}


def test_a_response_schema_asks_for_json_of_it() -> None:
    schema = {"type": "object", "additionalProperties": False}
    sent = body(encode(Conversation([]), Options(model="m", response_schema=schema)))
    assert sent["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": schema}


THOUGHTS = {"includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "thinking", "config", "exactly"),
    [
        ("gemini-2.5-flash", None, None, True),
        ("gemini-2.5-flash", "off", {"thinkingBudget": 0}, True),
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}, True),
        ("gemini-2.5-flash", "low", THOUGHTS | {"thinkingBudget": 4096}, True),
        ("gemini-2.5-flash", "xhigh", THOUGHTS | {"thinkingBudget": 24576}, True),
        ("gemini-2.5-flash", 1234, THOUGHTS | {"thinkingBudget": 1234}, True),
        ("gemini-2.5-flash", 99999, THOUGHTS | {"thinkingBudget": 24576}, False),
        ("gemini-2.5-flash-lite", 100, THOUGHTS | {"thinkingBudget": 512}, False),
        ("gemini-2.5-pro", "off", {"thinkingBudget": 128}, False),
        ("gemini-2.5-pro", "xhigh", THOUGHTS | {"thinkingBudget": 32768}, True),
        ("gemini-3-pro-preview", "high", THOUGHTS | {"thinkingLevel": "HIGH"}, True),
        ("gemini-3-pro-preview", "medium", THOUGHTS | {"thinkingLevel": "HIGH"}, False),
        ("gemini-3.1-pro-preview", "medium", THOUGHTS | {"thinkingLevel": "MEDIUM"}, True),
        ("gemini-3.1-pro-preview", "off", {"thinkingLevel": "LOW"}, False),
        ("gemini-3.8-flash", "minimal", THOUGHTS | {"thinkingLevel": "MINIMAL"}, True),
        ("gemini-3.8-flash", "off", {"thinkingLevel": "MINIMAL"}, False),
        ("gemini-3.8-flash", 5000, THOUGHTS | {"thinkingLevel": "MEDIUM"}, False),
        ("models/gemini-flash-latest", "xhigh", THOUGHTS | {"thinkingLevel": "HIGH"}, True),
        ("gemini-2.0-flash", "high", None, False),
        ("gemini-2.0-flash", "off", None, True),
        ("gemma-3-27b-it", "low", None, False),
    ],
)
def test_w25_thinking_is_a_budget_or_a_level_and_what_is_not_as_asked_is_named(
    model: str, thinking: str | int | None, config: dict[str, Any] | None, exactly: bool
) -> None:
    options = Options(model=model, thinking=thinking)
    sent = body(encode(Conversation([]), options))
    assert sent.get("generationConfig", {}).get("thinkingConfig") == config
    assert dropped(options) == ([] if exactly else ["thinking"])


def dropped(options: Options) -> list[str]:
    return [each.option for each in encode(Conversation([]), options).dropped]


def test_options_that_the_wire_has_no_word_for_are_named() -> None:
    options = Options(model="m", parallel_tool_calls=False, cache=Cache(), num_ctx=1, keep_alive="5m")
    assert dropped(options) == ["parallel_tool_calls", "cache", "num_ctx", "keep_alive"]
    assert dropped(Options(model="m", parallel_tool_calls=True)) == []
    assert "generationConfig" not in body(encode(Conversation([]), options))


def test_c4_a_dialect_brings_its_own_rules() -> None:
    facts = Models({"gemini": [{"pattern": "mine.*", "thinking": "budget", "budgets": [5, 10]}]}).gemini
    dialect = Dialect(facts=facts)
    sent = body(encode(Conversation([]), Options(model="mine-1", thinking="low"), dialect=dialect))
    assert sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 10


@pytest.mark.parametrize(
    "model", ["../../evil", "a?key=b", "a/b:c#d", "models/a%2e", "é", "a:generateContent?x", ""]
)
def test_a_model_name_cannot_leave_its_place_in_the_path(model: str) -> None:
    for stream in (False, True):
        prefix, _, rest = gemini.path(model, stream=stream).partition("/v1beta/models/")
        name, _, method = rest.rpartition(":")
        assert prefix == ""
        assert method in ("generateContent", "streamGenerateContent?alt=sse")
        assert not set(name) & set("/?#:&=\\ ")
        assert name.isascii()


def test_the_key_goes_into_one_header_and_no_url() -> None:
    assert gemini.auth_headers("k") == {"x-goog-api-key": "k"}
    assert gemini.models_path == "/v1beta/models"
    assert "key" not in encode(FULL, OPTIONS).path


# ---- Google's own request type

NAMES = st.sampled_from(["f", "g", "get_weather"])
STATES = st.none() | st.just(FOREIGN) | st.builds(own, id=st.just("i"), thoughtSignature=st.just("c2ln"))
OBJECTS = st.dictionaries(st.text(max_size=3), st.none() | st.integers(-9, 9) | st.text(max_size=3), max_size=2)
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(TextBlock, st.text(max_size=5), STATES),
    st.builds(ThinkingBlock, st.text(max_size=5), STATES),
    st.builds(ImageBlock, st.just("image/png"), st.binary(max_size=5)),
    st.builds(ImageBlock, st.just("image/png"), st.just(b""), st.just("https://x/y")),
    st.builds(ToolUseBlock, st.sampled_from(["1", "2", "3"]), NAMES, OBJECTS, STATES),
    st.builds(ToolResultBlock, st.sampled_from(["1", "2", "3"]), st.text(max_size=5), st.booleans()),
)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["user", "assistant", "system"]),
    st.text(max_size=5) | st.lists(BLOCKS, max_size=4),
)
ASKED = st.builds(
    Options,
    model=st.sampled_from(
        ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview", "gemini-3.8-flash", "gemma-3"]
    ),
    stream=st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9999),
    seed=st.none() | st.integers(0, 99),
    stop=st.none() | st.lists(st.text(max_size=3), max_size=2),
    tool_choice=st.none() | st.sampled_from(["auto", "none", "required", "f"]),
    thinking=st.none() | st.sampled_from(THINKING) | st.integers(0, 50000),
    response_schema=st.none() | st.just({"type": "object", "additionalProperties": False}),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES, max_size=6), st.none() | st.text(max_size=5), st.sampled_from([[], TOOLS]), ASKED)
def test_requests_are_googles_own_type(
    messages: list[Message], system: str | None, tools: list[Tool], options: Options
) -> None:
    types = pytest.importorskip(
        "google.ai.generativelanguage_v1beta.types.generative_service",
        reason="google-ai-generativelanguage is not installed: requests are not checked against Google's types",
    )
    json_format = pytest.importorskip("google.protobuf.json_format", reason="protobuf is not installed")
    sent = body(encode(Conversation(messages, system, tools), options))
    thinking = sent.get("generationConfig", {}).get("thinkingConfig", {})
    # The package does not know the levels yet.
    assert thinking.pop("thinkingLevel", "LOW") in ("MINIMAL", "LOW", "MEDIUM", "HIGH")
    read = json_format.ParseDict(sent, types.GenerateContentRequest.pb()())
    roles = [content.role for content in read.contents]
    assert roles == ["user", "model"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    assert all(content.parts for content in read.contents)
    assert all(
        part.function_response.name for c in read.contents for part in c.parts if "function_response" in part
    )
