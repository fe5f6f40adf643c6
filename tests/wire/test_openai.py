"""The OpenAI wire: recordings at every cut, S1–S15, both tables of §2.5, and what encode writes."""

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
    called,
    decoded_in_any_pieces,
    end,
    failure,
    of_each,
    outcome,
    recordings,
    text,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.wire import models, openai
from luahost.wire.events import End, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Conversation,
    Message,
    Options,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from luahost.wire.openai import COMPATIBLE, OPENAI, Decoder, Dialect, encode

JSON = "application/json"


# ---- helpers


decode = Reader(Decoder, SSE, more=b"data: {}\n\n")


def frame(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return frame({"id": "chatcmpl-1", "model": "m", "choices": [choice]} | more)


def tool(index: int | None = 0, id: str | None = None, name: str | None = None, arguments: Any = None) -> bytes:
    call: dict[str, Any] = {"type": "function", "function": {}}
    call |= {} if index is None else {"index": index}
    call |= {} if id is None else {"id": id}
    call["function"] |= {} if name is None else {"name": name}
    call["function"] |= {} if arguments is None else {"arguments": arguments}
    return chunk({"tool_calls": [call]})


DONE = frame(b"[DONE]")
TEXT = chunk({"content": "hi"})
STOP = chunk({}, "stop")


def completion(message: Any, finish: Any = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "x", "model": "m", "choices": [choice]} | more).encode()


ALL = recordings(decode, "/chat/completions$", ("aimock", "llama-server-bigram"))
STREAMS = [r for r in ALL if r.content_type.startswith(SSE)]
BY_NAME = {r.name: r for r in ALL}
assert len(ALL) > 80
assert len(STREAMS) >= 30


# ---- recordings


@of_each(ALL)
def test_a_recording_decodes_the_same_whole_bytewise_and_at_random_cuts(recording: Recording) -> None:
    assert_the_same_bytewise_and_at_random_cuts(recording)


@of_each(STREAMS)
def test_s13_a_stream_cut_at_every_byte_is_a_prefix_and_incomplete(recording: Recording) -> None:
    body, whole = recording.body, recording.decode(recording.body)
    content = whole[:-1]
    finished = [e for e in content if not isinstance(e, Usage)]
    dropped = len(body) % 2 == 0
    for cut in range(len(body)):
        got = recording.decode(body[:cut], dropped=dropped)
        if outcome(got)[0] != "stream_incomplete":  # the finish reason was in, only usage may be missing
            assert [e for e in got[:-1] if not isinstance(e, Usage)] == finished
            assert got[-1] == whole[-1]
            continue
        assert got[:-1] == content[: len(got) - 1]
        assert not called(got)
        assert failure(got).retryable
        assert ("broke" in failure(got).message) == dropped


@of_each([r for r in ALL if r.status >= 400])
def test_recorded_errors_are_one_end_with_the_failure(recording: Recording) -> None:
    events = recording.decode(recording.body)
    assert len(events) == 1
    kinds = {"401": "auth_error", "429": "rate_limit", "500": "server_error", "529": "overloaded"}
    kinds |= {"context": "context_overflow", "badjson": "invalid_request", "404": "not_found"}
    kinds |= {
        "emptyobj": "invalid_request",
        "flaky_1": "overloaded",
        "flaky_2": "rate_limit",
        "badtools": "server_error",
    }
    kinds |= {"nomatch": "overloaded", "badtype": "invalid_request", "nomessages": "invalid_request"}
    expected = next(kind for word, kind in kinds.items() if word in recording.name)
    assert failure(events).kind == expected
    assert failure(events).status == recording.status


EXPECTED: dict[str, tuple[str, str | None]] = {
    "aimock/openai_text": ("end_turn", None),
    "aimock/openai_text_stream": ("end_turn", None),
    "aimock/openai_length_stream": ("max_tokens", None),
    "aimock/openai_tool_stream": ("tool_use", None),
    "aimock/openai_content_filter": ("content_filter", "content_filter"),
    "aimock/openai_content_filter_stream": ("content_filter", "content_filter"),
    "aimock/openai_cut_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/openai_drop_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/openai_garbage": ("error", "parse_error"),
    "aimock/openai_garbage_stream": ("error", "parse_error"),
    "aimock/openrouter_tool_stream": ("tool_use", None),
    "llama-server-bigram/openai_tool": ("tool_use", None),
    "llama-server-bigram/openai_parallel_tools_stream": ("tool_use", None),
    "llama-server-bigram/openai_length": ("max_tokens", None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recordings_end_as_they_should(name: str) -> None:
    assert outcome(BY_NAME[name].decode(BY_NAME[name].body)) == EXPECTED[name]


TWINS = [r.name for r in ALL if r.name + "_stream" in BY_NAME and not r.name.endswith(("_cut", "_drop"))]
TWINS = [name for name in TWINS if "/openai_" in name and "multi_n" not in name and BY_NAME[name].status == 200]
assert len(TWINS) > 15


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_and_its_completion_say_the_same(name: str) -> None:
    whole, stream = BY_NAME[name], BY_NAME[name + "_stream"]
    a, b = whole.decode(whole.body), stream.decode(stream.body)
    assert text(a) == text(b)
    assert [c[1:] for c in called(a)] == [c[1:] for c in called(b)]
    assert a[-1] == b[-1]
    thoughts = ["".join(e.text for e in events if isinstance(e, Thinking)) for events in (a, b)]
    assert thoughts[0] == thoughts[1]


def test_the_first_choice_alone_is_told_when_several_are_interleaved() -> None:
    r = BY_NAME["llama-server-bigram/openai_multi_n_stream"]
    body = r.decode(r.body)
    single = BY_NAME["llama-server-bigram/openai_text_stream"]
    assert text(body) == text(single.decode(single.body))
    assert outcome(body) == ("end_turn", None)
    assert any(isinstance(e, Usage) for e in body)


# ---- §2.5, table of stop reasons, the OpenAI column

STOPS: list[tuple[str, bytes, str, str | None]] = [
    ("end_turn: stop", TEXT + STOP + DONE, "end_turn", None),
    ("tool_use: tool_calls", tool(0, "a", "f", "{}") + chunk({}, "tool_calls") + DONE, "tool_use", None),
    (
        "tool_use: function_call",
        chunk({"function_call": {"name": "f", "arguments": "{}"}}) + chunk({}, "function_call") + DONE,
        "tool_use",
        None,
    ),
    ("tool_use: stop with calls", tool(0, "a", "f", "{}") + STOP + DONE, "tool_use", None),
    ("max_tokens: length", TEXT + chunk({}, "length") + DONE, "max_tokens", None),
    ("stop_sequence: stop", TEXT + chunk({}, "stop", stop_reason="###") + DONE, "end_turn", None),
    ("content_filter", TEXT + chunk({}, "content_filter") + DONE, "content_filter", "content_filter"),
    (
        "refusal: delta.refusal",
        chunk({"content": None, "refusal": "No."}) + STOP + DONE,
        "refusal",
        "content_filter",
    ),
    (
        "malformed: args not JSON",
        tool(0, "a", "f", "{x") + STOP + DONE,
        "malformed_tool_call",
        "malformed_tool_call",
    ),
    ("error: finish_reason error", TEXT + chunk({}, "error") + DONE, "error", "server_error"),
    ("stream_incomplete", TEXT, "stream_incomplete", "stream_incomplete"),
]


@pytest.mark.parametrize(("stream", "stop", "kind"), [c[1:] for c in STOPS], ids=[c[0] for c in STOPS])
def test_table_of_stop_reasons(stream: bytes, stop: str, kind: str | None) -> None:
    assert outcome(decode(stream)) == (stop, kind)


def test_context_limit_is_the_400_with_that_code() -> None:
    body = b'{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}'
    assert outcome(decode(body, status=400, content_type=JSON)) == ("context_limit", "context_overflow")


def test_u18_context_overflow_inside_a_stream_is_told_by_its_type() -> None:
    stream = frame({"error": {"code": 400, "type": "exceed_context_size_error", "message": "m"}})
    assert outcome(decode(stream)) == ("context_limit", "context_overflow")


# ---- S cases of this wire


def test_s3_invalid_utf8_is_replaced_and_the_stream_lives() -> None:
    broken = b'{"choices":[{"index":0,"delta":{"content":"a\xff b"},"finish_reason":null}]}'
    assert text(decode(frame(broken), STOP, DONE)) == "a\ufffd b"


def test_s3_a_lone_surrogate_is_replaced_and_the_stream_lives() -> None:
    broken = b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"},"finish_reason":null}]}'
    assert text(decode(frame(broken), STOP, DONE)) == "a\ufffd"


def test_s5_comments_are_not_content() -> None:
    events = decode(b": OPENROUTER PROCESSING\n\n: ping - 2026\n\n", TEXT, STOP, DONE)
    assert events[0] == Start("m", "chatcmpl-1")
    assert text(events) == "hi"


def test_s7_a_last_frame_without_a_blank_line_counts() -> None:
    assert outcome(decode(TEXT + STOP.rstrip())) == ("end_turn", None)
    assert outcome(decode(TEXT + STOP + DONE.rstrip())) == ("end_turn", None)


def test_s8_done_ends_at_once_by_prefix_and_what_follows_is_ignored() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    events = decoder.feed(TEXT + STOP + b"data: [DONE] bye\n\n" + TEXT)
    assert decoder.ended
    assert text(events) == "hi"
    assert decoder.close() == []


def test_s8_finish_reason_without_done_waits_for_usage_and_eof_is_success() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    events = decoder.feed(TEXT + STOP)
    assert decoder.answered
    assert not decoder.ended
    events += decoder.feed(frame({"choices": [], "usage": {"prompt_tokens": 1}}))
    assert decoder.close(dropped=True) == [Usage(input=1), End("end_turn", "stop")]


def test_s8_done_without_a_finish_reason_ends_a_turn_that_has_content() -> None:
    assert decode(TEXT, DONE)[-1] == End("end_turn", None)
    assert outcome(decode(tool(0, "a", "f", "{}"), DONE)) == ("tool_use", None)


def test_s9_an_event_over_the_cap_is_too_large_after_what_came_before() -> None:
    events = decode(TEXT + chunk({"content": "x" * 2000}), max_bytes=1000)
    assert text(events) == "hi"
    assert outcome(events) == ("error", "too_large")
    assert outcome(decode(b"{" + b" " * 2000, content_type=JSON, max_bytes=1000)) == ("error", "too_large")


def test_s9_endless_tool_arguments_are_too_large() -> None:
    pieces = [tool(0, "a", "f", "x" * 100)] * 20
    assert outcome(decode(*pieces, max_bytes=1000)) == ("error", "too_large")


def test_s10_event_error_is_an_error_whatever_its_payload() -> None:
    for payload in (
        b"it broke",
        b'{"message":"it broke"}',
        b'{"error":{"message":"it broke"}}',
        b'"it broke"',
    ):
        events = decode(TEXT, b"event: error\ndata: " + payload + b"\n\n")
        assert outcome(events) == ("error", "server_error")
        assert failure(events).message == "it broke"


def test_s10_unknown_frames_and_events_are_skipped() -> None:
    noise = (
        b"event: ping\ndata: pong\n\n" + frame({"type": "later"}) + frame(b"null") + frame(b"[]") + frame(b": ping")
    )
    assert text(decode(noise, TEXT, noise, STOP, noise, DONE)) == "hi"


def test_s11_a_json_body_is_read_whatever_the_content_type() -> None:
    body = completion({"role": "assistant", "content": "hi"})
    for content_type in (JSON, SSE, "", "text/plain"):
        events = decode(b"\n \n", body, content_type=content_type)
        assert events == [Start("m", "x"), Text("hi"), End("end_turn", "stop")]


def test_s11_a_stream_is_read_whatever_the_content_type() -> None:
    for content_type in ("", JSON, "text/plain", "TEXT/event-stream; charset=utf-8"):
        assert text(decode(b"\xef\xbb\xbf: hi\r\n\r\n", TEXT, STOP, DONE, content_type=content_type)) == "hi"


def test_s11_html_and_garbage_are_a_parse_error_with_a_short_clean_snippet() -> None:
    page = b"<html>\x1b[2J\n<p>" + b"x" * 500
    for content_type in ("text/html", SSE):
        found = failure(decode(page, content_type=content_type))
        assert found.kind == "parse_error"
        assert found.retryable
        assert "<html> [2J <p>xxx" in found.message
        assert len(found.message) <= len("the answer is not JSON: ") + 200


def test_s11_a_frame_that_is_no_json_is_a_parse_error() -> None:
    events = decode(TEXT, b"data: {oops\n\n", STOP)
    assert text(events) == "hi"
    assert outcome(events) == ("error", "parse_error")


def test_s12_the_error_field_of_llama_cpp_is_its_error() -> None:
    stream = b'error: {"code":500,"message":"oh","type":"server_error"}\n\n'
    for content_type in (SSE, "text/plain"):
        found = failure(decode(stream, content_type=content_type))
        assert (found.kind, found.message) == ("server_error", "oh")
    assert failure(decode(TEXT, stream)).message == "oh"


def test_s13_eof_before_the_finish_reason_is_incomplete_and_gives_no_call() -> None:
    events = decode(TEXT, tool(0, "a", "f", "{}"))
    assert called(events) == []
    assert outcome(events) == ("stream_incomplete", "stream_incomplete")
    assert failure(events).retryable


def test_s13_a_broken_connection_and_a_clean_end_read_differently() -> None:
    clean, broken = (failure(decode(TEXT, dropped=dropped)).message for dropped in (False, True))
    assert "closed" in clean
    assert "broke" in broken
    assert outcome(decode(b'{"choi', content_type=JSON, dropped=True))[0] == "stream_incomplete"


def test_s13_an_empty_event_stream_is_incomplete() -> None:
    events = decode(b"")
    assert outcome(events) == ("stream_incomplete", "stream_incomplete")
    assert "before the answer began" in failure(events).message


# ---- S15 tool deltas


def test_s15_fragments_are_joined_by_index_and_given_in_order_at_the_finish() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    pieces = [
        tool(1, "b", "g", '{"y"'),
        tool(0, "a", "f", ""),
        tool(1, arguments=":2}"),
        tool(0, arguments='{"x":1}'),
    ]
    assert called([e for piece in pieces for e in decoder.feed(piece)]) == []
    assert called(decoder.feed(chunk({}, "tool_calls"))) == [("b", "g", {"y": 2}), ("a", "f", {"x": 1})]


def test_s15_index_missing() -> None:
    stream = [tool(None, "a", "f", '{"x":'), tool(None, arguments="1}"), tool(None, "b", "f", "{}")]
    assert called(decode(*stream, STOP, DONE)) == [("a", "f", {"x": 1}), ("b", "f", {})]


def test_s15_index_missing_and_several_in_one_delta() -> None:
    both = [{"id": i, "function": {"name": "f", "arguments": {"n": i}}} for i in ("a", "b")]
    assert called(decode(chunk({"tool_calls": both}), STOP)) == [
        ("a", "f", {"n": "a"}),
        ("b", "f", {"n": "b"}),
    ]


def test_s15_u12_same_index_with_a_new_id_is_a_new_call() -> None:
    stream = [tool(0, "a", "f", '{"x":1}'), tool(0, "b", "f", '{"x":2}')]
    assert called(decode(*stream, STOP)) == [("a", "f", {"x": 1}), ("b", "f", {"x": 2})]


def test_s15_same_index_without_ids_and_whole_arguments_are_two_calls() -> None:
    stream = [tool(0, name="f", arguments="{}"), tool(0, name="f", arguments='{"x":2}')]
    assert [c[1:] for c in called(decode(*stream, STOP))] == [("f", {}), ("f", {"x": 2})]


def test_s15_an_id_that_changes_within_the_arguments_is_the_same_call() -> None:
    stream = [tool(0, "a", "f", '{"x"'), tool(0, "b", None, ":1}")]
    assert called(decode(*stream, STOP)) == [("a", "f", {"x": 1})]


def test_s15_name_and_id_repeated_in_every_delta() -> None:
    stream = [tool(0, "a", "f", piece) for piece in ("", '{"x"', ":1", "}", "")]
    assert called(decode(*stream, STOP)) == [("a", "f", {"x": 1})]


def test_s15_id_and_name_only_later() -> None:
    stream = [tool(0, arguments='{"x"'), tool(0, "a", arguments=":1}"), tool(0, name="f")]
    assert called(decode(*stream, STOP)) == [("a", "f", {"x": 1})]


def test_s15_arguments_as_an_object() -> None:
    events = decode(tool(0, "a", "f", {"x": 1}), STOP)
    assert events[1] == ToolCall("a", "f", {"x": 1}, '{"x":1}')


@pytest.mark.parametrize("arguments", [[1], 7, True, {"x": float("nan")}, {"\ud83d": 1}, {"x": ["\ud83d"]}])
def test_s15_arguments_as_any_other_json_are_flagged(arguments: Any) -> None:
    events = decode(tool(0, "a", "f", arguments), STOP)
    assert called(events) == [("a", "f", None)]
    assert outcome(events)[0] == "malformed_tool_call"


@pytest.mark.parametrize("arguments", ["", None, " \n"])
def test_s15_u11_no_arguments_are_an_empty_object(arguments: str | None) -> None:
    assert called(decode(tool(0, "a", "f", arguments), STOP)) == [("a", "f", {})]


def test_s15_null_calls_null_delta_and_empty_choices_are_nothing() -> None:
    noise = chunk({"tool_calls": None, "content": None, "refusal": None}) + chunk(None) + frame({"choices": []})
    assert text(decode(noise, chunk({"content": ""}), TEXT, noise, STOP, DONE)) == "hi"


def test_s15_usage_counts_on_any_chunk_and_the_last_word_wins() -> None:
    first = chunk({"content": "hi"}, usage={"prompt_tokens": 5, "completion_tokens": 1})
    last = chunk({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 9}) + frame(
        {"choices": [], "usage": None}
    )
    events = decode(first, last, DONE)
    assert [e for e in events if isinstance(e, Usage)] == [Usage(input=5, output=9)]
    assert isinstance(events[-2], Usage)


def test_s15_a_missing_id_is_made_up_unique() -> None:
    stream = [
        tool(0, name="f"),
        tool(1, "call_chatcmpl1_0", "g"),
        tool(2, name="h"),
        STOP,
    ]
    ids = [c[0] for c in called(decode(*stream))]
    assert len(set(ids)) == 3
    assert all(i.startswith("call_") and i.replace("_", "").isalnum() for i in ids)
    other = frame({"id": "chatcmpl-2", "choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]})
    assert called(decode(other, STOP))[0][0] not in ids


def test_s15_an_id_used_twice_is_made_unique() -> None:
    ids = [c[0] for c in called(decode(tool(0, "a", "f"), tool(1, "a", "g"), STOP))]
    assert ids[0] == "a"
    assert ids[1] not in ("", "a")


@pytest.mark.parametrize("raw", ['{"x":', '{"a":1}{"b":2}', "[1]", "null", '"x"', "NaN", "{'x': 1}", '{"x":1,}'])
def test_u10_arguments_that_are_not_one_object_are_flagged_and_never_guessed(raw: str) -> None:
    events = decode(tool(0, "a", "f", raw), chunk({}, "tool_calls"), DONE)
    assert events[1] == ToolCall("a", "f", None, raw)
    assert outcome(events) == ("malformed_tool_call", "malformed_tool_call")
    assert not failure(events).retryable


def test_u10_arguments_nested_too_deeply_are_flagged() -> None:
    raw = '{"x":' + "[" * 10_000
    assert outcome(decode(tool(0, "a", "f", raw), STOP)) == ("malformed_tool_call", "malformed_tool_call")


def test_u10_a_call_without_a_name_is_malformed() -> None:
    events = decode(tool(0, "a", "", "{}"), chunk({}, "tool_calls"))
    assert called(events) == [("a", "", None)]
    assert outcome(events)[0] == "malformed_tool_call"


def test_u13_calls_cut_by_the_length_limit_are_max_tokens_with_arguments_none() -> None:
    events = decode(tool(0, "a", "f", "{}"), tool(1, "b", "g", '{"x":'), chunk({}, "length"), DONE)
    assert called(events) == [("a", "f", {}), ("b", "g", None)]
    assert outcome(events) == ("max_tokens", None)


def test_calls_announced_and_not_sent_are_malformed() -> None:
    assert outcome(decode(chunk({}, "tool_calls"), DONE))[0] == "malformed_tool_call"


def test_a_filtered_answer_hands_out_no_call() -> None:
    assert called(decode(tool(0, "a", "f", "{}"), chunk({}, "content_filter"), DONE)) == []


# ---- errors inside a 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "invalid_response"),
        (b'{"choices":null}', "invalid_response"),
        (b'{"choices":[]}', "invalid_response"),
        (b'{"choices":[null]}', "invalid_response"),
        (b'{"choices":[{"index":0,"message":null,"finish_reason":"stop"}]}', "invalid_response"),
        (b'{"id":"x","usage":{"prompt_tokens":1}}', "invalid_response"),
        (b"[]", "invalid_response"),
        (b"null", "invalid_response"),
        (b"", "parse_error"),
        (b"{bad", "parse_error"),
        (b"<html>", "parse_error"),
        (b'{"error":{"code":429,"message":"m"},"choices":null}', "rate_limit"),
        (b'{"error":{"code":"502","message":"m"}}', "server_error"),
        (b'{"error":"text"}', "server_error"),
        (b'[{"error":{"code":429,"message":"m"}}]', "rate_limit"),
        (b'{"object":"error","message":"m","code":404}', "not_found"),
        (
            b'{"choices":[{"error":{"code":502,"message":"m"},"finish_reason":"error","message":{}}]}',
            "server_error",
        ),
    ],
)
def test_u7_a_200_without_an_answer_is_never_ok(body: bytes, kind: str) -> None:
    events = decode(body, content_type=JSON)
    assert outcome(events) == ("error", kind)
    assert failure(events).retryable == (kind in ("parse_error", "rate_limit", "server_error"))
    assert text(events) == ""


@pytest.mark.parametrize("stream", [DONE, frame({"choices": None}) + DONE, chunk(None, "stop") + DONE])
def test_u7_a_stream_that_ends_without_an_answer_is_never_ok(stream: bytes) -> None:
    assert outcome(decode(stream)) == ("error", "invalid_response")


def test_u6_a_mid_stream_error_is_told_by_its_words_and_usage_is_kept() -> None:
    error = {
        "error": {"code": "x", "type": "rate_limit_error", "message": "slow down"},
        "usage": {"prompt_tokens": 3},
    }
    events = decode(TEXT, frame(error), STOP)
    assert events[1:] == [Text("hi"), Usage(input=3), events[-1]]
    assert outcome(events) == ("error", "rate_limit")
    assert failure(events).retryable


def test_w34_openrouters_error_chunk_keeps_its_raw_reason() -> None:
    stream = chunk({"content": ""}, "error", error={"code": 502, "message": "upstream"})
    last = end(decode(TEXT, stream))
    assert (last.stop_reason, last.raw_reason) == ("error", "error")
    assert last.failure is not None
    assert last.failure.provider_code == "502"


def test_older_vllms_error_frame_is_an_error() -> None:
    found = failure(
        decode(frame({"object": "error", "message": "oh", "type": "BadRequestError", "code": 400}), DONE)
    )
    assert (found.kind, found.message) == ("invalid_request", "oh")


def test_retry_after_of_an_error_response_is_read_with_the_clock_given() -> None:
    date = {"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}
    decoder = Decoder(status=429, content_type=JSON, headers=date, model="m", now_s=784111777.0)
    assert failure(decoder.close()).retry_after_s == 10.0


# ---- shapes of content


def test_refusal_text_is_the_failures_message_in_both_shapes() -> None:
    for events in (
        decode(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), STOP, DONE),
        decode(completion({"content": None, "refusal": "I won't"}), content_type=JSON),
    ):
        assert outcome(events) == ("refusal", "content_filter")
        assert failure(events).message == "I won't"
        assert not failure(events).retryable


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_in_any_field_is_thinking(field: str) -> None:
    events = decode(chunk({field: "hm"}), TEXT, STOP, DONE)
    assert events[1:3] == [Thinking("hm"), Text("hi")]


def test_the_same_reasoning_in_two_fields_is_told_once() -> None:
    events = decode(chunk({"reasoning": "hm", "reasoning_content": "hm"}), TEXT, STOP)
    assert [e for e in events if isinstance(e, Thinking)] == [Thinking("hm")]


def test_content_as_an_array_of_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"text": "hm"}]},
        {"type": "text", "text": "hi"},
        {"type": "image"},
        3,
    ]
    assert decode(chunk({"content": parts}), STOP)[1:3] == [Thinking("hm"), Text("hi")]


def test_a_message_in_a_stream_is_read_as_a_delta() -> None:
    assert text(decode(frame({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}))) == "hi"


def test_one_field_of_an_odd_type_does_not_lose_the_frame() -> None:
    odd = {
        "id": 7,
        "model": None,
        "choices": [{"index": "0", "delta": {"content": "hi", "reasoning": {"x": 1}}}],
    }
    events = decode(frame(odd), STOP)
    assert events[:2] == [Start("asked", ""), Text("hi")]


@pytest.mark.parametrize("reason", ["weird", "", None])
def test_an_unknown_finish_reason_is_a_turn_only_if_content_came(reason: str | None) -> None:
    body = completion({"content": "hi"}, reason)
    assert decode(body, content_type=JSON)[-1] == End("end_turn", reason or None)
    assert outcome(decode(completion({"content": ""}, reason), content_type=JSON)) == (
        "error",
        "invalid_response",
    )


def test_an_empty_finish_reason_does_not_finish_a_stream() -> None:
    assert outcome(decode(chunk({"content": "hi"}, "")))[0] == "stream_incomplete"


def test_u14_usage_says_only_what_was_said() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
        "cost": 0.25,
    }
    assert openai.parse_usage(usage) == Usage(10, 4, 2, 0, 3, 14, 0.25)
    assert openai.parse_usage({"prompt_tokens": 1}) == Usage(input=1)
    for nothing in (
        None,
        {},
        [],
        {"prompt_tokens": None},
        {"prompt_tokens": -1, "cost": "1"},
        {"cost": True},
    ):
        assert openai.parse_usage(nothing) is None
    assert openai.parse_usage(json.loads('{"prompt_tokens": 1, "cost": NaN, "total_tokens": Infinity}')) == Usage(1)


# ---- anything at all

SCRAPS = [
    TEXT,
    STOP,
    DONE,
    b"data: ",
    b"{",
    b"}",
    b'"choices":[',
    b"\n\n",
    b"\r",
    b"event: error\n",
    b": x\n",
]
SCRAPS += [tool(0, "a", "f", "{"), chunk({}, "length"), b"\xef\xbb", b"\xff", frame({"error": 1}), b"<html>"]
SCRAPS += [b"error: ", b"[DONE]"]
KEYS = [
    "choices",
    "index",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
]
KEYS += ["finish_reason", "usage", "error", "refusal", "reasoning", "function_call", "prompt_tokens", "text"]
KEYS += ["thinking", "object", "type", "cost", "model"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
CHUNKS = st.builds(
    lambda delta, finish, more: chunk(delta, finish, **more),
    VALUES,
    VALUES,
    st.dictionaries(st.sampled_from(["usage", "error", "id", "model"]), VALUES, max_size=2),
)


@settings(max_examples=150, deadline=None)
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
    stream = TEXT * 1000 + STOP + DONE
    start = time.thread_time()
    assert len(decode(stream)) == 1002
    assert time.thread_time() - start < 0.1


# ---- encode


def body(request: Any) -> Any:
    return json.loads(request.body)


FULL = Conversation(
    system="Be brief.",
    messages=[
        Message("user", [TextBlock("a "), TextBlock("b")]),
        Message(
            "assistant",
            [
                TextBlock("Let me look."),
                ToolUseBlock("c1", "f", {"x": 1.0, "é": [None]}),
                ToolUseBlock("c2", "g", {}),
            ],
        ),
        Message(
            "user",
            [ToolResultBlock("c1", "one"), ToolResultBlock("c2", "no", is_error=True), TextBlock("go")],
        ),
        Message("assistant", [ToolUseBlock("c3", "g", {})]),
        Message("user", [ToolResultBlock("c3", "")]),
        Message("assistant", "done"),
        Message("user", "thanks"),
    ],
    tools=[Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "number"}}}), Tool("g")],
)


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_encode_writes_the_whole_conversation_as_the_wire_wants_it() -> None:
    options = Options(
        model="m", stream=True, temperature=0.5, top_p=1, max_tokens=9, seed=3, stop=["x"], tool_choice="auto"
    )
    request = encode(FULL, options, dialect=COMPATIBLE)
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["Content-Type"] == "application/json"
    assert not any("auth" in name.lower() for name in request.headers)
    assert body(request) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a b"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [call("c1", "f", '{"x":1.0,"é":[null]}'), call("c2", "g", "{}")],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "no"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "", "tool_calls": [call("c3", "g", "{}")]},
            {"role": "tool", "tool_call_id": "c3", "content": ""},
            {"role": "assistant", "content": "done"},
            {"role": "user", "content": "thanks"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "Does f.",
                    "parameters": {"type": "object", "properties": {"x": {"type": "number"}}},
                },
            },
            {
                "type": "function",
                "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
            },
        ],
        "tool_choice": "auto",
        "temperature": 0.5,
        "top_p": 1,
        "max_tokens": 9,
        "seed": 3,
        "stop": ["x"],
    }


def test_every_call_is_answered_right_behind_its_turn() -> None:
    messages = body(encode(FULL, Options(model="m"), dialect=COMPATIBLE))["messages"]
    for position, message in enumerate(messages):
        asked = [c["id"] for c in message.get("tool_calls", [])]
        answers = messages[position + 1 : position + 1 + len(asked)]
        assert [a.get("tool_call_id") for a in answers] == asked


def test_encode_leaves_out_what_was_not_said() -> None:
    plain = Conversation([Message("user", "hi")])
    assert body(encode(plain, Options(model="m", tool_choice="auto", stop=[]), dialect=COMPATIBLE)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }


def test_encode_gives_the_same_bytes_for_the_same_input() -> None:
    options = Options(model="m", stream=True, temperature=0.1)
    again = msgspec.convert(msgspec.to_builtins(FULL), Conversation)
    assert encode(FULL, options, dialect=OPENAI).body == encode(again, options, dialect=OPENAI).body


def test_a_longer_conversation_keeps_the_shorter_ones_messages_as_a_prefix() -> None:
    long = encode(FULL, Options(model="m"), dialect=OPENAI).body
    shorter = msgspec.structs.replace(FULL, messages=FULL.messages[:-1])
    short = encode(shorter, Options(model="m"), dialect=OPENAI).body
    assert long.startswith(short[: short.index(b'],"stream"')])


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("o4-mini-2025-04-16", True),
        ("gpt-5", True),
        ("gpt-5.4-mini", True),
        ("gpt-6", True),
        ("gpt-10", True),
        ("gpt-5-chat-latest", False),
        ("gpt-5.2-chat-latest", False),
        ("gpt-4o", False),
        ("gpt-4.1", False),
        ("ollama-something", False),
        ("gpt-oss:20b", False),
    ],
)
def test_w7_reasoning_models_get_max_completion_tokens_and_no_temperature(model: str, reasons: bool) -> None:
    options = Options(model=model, max_tokens=5, temperature=0.2, top_p=0.9)
    sent = body(encode(Conversation([]), options, dialect=OPENAI))
    assert ("max_completion_tokens" in sent, "max_tokens" in sent) == (reasons, not reasons)
    assert ("temperature" in sent) == ("top_p" in sent) == (not reasons)
    dropped = [each.option for each in encode(Conversation([]), options, dialect=OPENAI).dropped]
    assert dropped == (["temperature", "top_p"] if reasons else [])
    assert "max_tokens" in body(encode(Conversation([]), options, dialect=COMPATIBLE))


def test_a_dialect_chooses_its_words() -> None:
    facts = models.Table(models.Gpt, [{"pattern": "m", "max_tokens_field": "max_completion_tokens"}])
    dialect = Dialect(facts=facts, system_role="developer", stream_usage=False)
    sent = body(
        encode(Conversation([], system="s"), Options(model="m", max_tokens=1, stream=True), dialect=dialect)
    )
    assert sent["messages"] == [{"role": "developer", "content": "s"}]
    assert sent["max_completion_tokens"] == 1
    assert "stream_options" not in sent


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("f", {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice_is_a_word_or_a_function(choice: str, written: Any) -> None:
    assert body(encode(FULL, Options(model="m", tool_choice=choice), dialect=COMPATIBLE))["tool_choice"] == written


def test_the_key_goes_into_one_header() -> None:
    assert openai.auth_headers("k") == {"Authorization": "Bearer k"}
    assert openai.models_path == "/v1/models"
