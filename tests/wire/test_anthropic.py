"""The Anthropic wire: recordings at every cut, both tables of §2.5, and what encode writes for which model."""

from __future__ import annotations

import collections.abc
import functools
import itertools
import json
import re
import time
import typing
import warnings
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
    thinking,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.errors import ConfigError
from luahost.wire import anthropic, models
from luahost.wire.anthropic import ANTHROPIC, Decoder, Dialect, encode
from luahost.wire.events import End, Event, Keep, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Cache,
    Conversation,
    ImageBlock,
    Message,
    Options,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)

JSON = "application/json"


# ---- helpers


decode = Reader(Decoder, SSE, more=b'event: message_stop\ndata: {"type": "message_stop"}\n\n')


def frame(value: Any, name: str | None = None) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    name = name or (value.get("type") if isinstance(value, dict) else None)
    return (f"event: {name}\n".encode() if isinstance(name, str) and name else b"") + b"data: " + data + b"\n\n"


def start(index: int, **block: Any) -> bytes:
    return frame({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, **piece: Any) -> bytes:
    return frame({"type": "content_block_delta", "index": index, "delta": piece})


def stop(index: int) -> bytes:
    return frame({"type": "content_block_stop", "index": index})


def finish(reason: Any, usage: Any = None, **more: Any) -> bytes:
    return frame({"type": "message_delta", "delta": {"stop_reason": reason} | more, "usage": usage}) + STOP


def said(text: str, index: int = 0) -> bytes:
    return start(index, type="text", text="") + delta(index, type="text_delta", text=text) + stop(index)


def call(index: int, id: str | None, name: str | None, *pieces: Any, **more: Any) -> bytes:
    deltas = b"".join(delta(index, type="input_json_delta", partial_json=piece) for piece in pieces)
    return start(index, type="tool_use", id=id, name=name, **more) + deltas + stop(index)


STOP = frame({"type": "message_stop"})
BEGIN = frame({"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}})
TEXT = said("hi")
PING = frame({"type": "ping"})
TOOL = call(1, "a", "f", '{"x":', "1}")


def message(*content: Any, stop_reason: Any = "end_turn", **more: Any) -> bytes:
    known = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": list(content)}
    return json.dumps(known | {"stop_reason": stop_reason, "stop_sequence": None} | more).encode()


def kept(events: list[Event]) -> list[Any]:
    return [e.block for e in events if isinstance(e, Keep)]


ALL = recordings(decode, "/v1/messages$", ("aimock", "llama-server-bigram"))
STREAMS = [r for r in ALL if r.content_type.startswith(SSE)]
BY_NAME = {r.name: r for r in ALL}
assert len(ALL) > 55
assert len(STREAMS) >= 20


# ---- recordings


@of_each(ALL)
def test_a_recording_decodes_the_same_whole_bytewise_and_at_random_cuts(recording: Recording) -> None:
    assert_the_same_bytewise_and_at_random_cuts(recording)


# What no recording holds: thinking with its signature between calls, redacted thinking, interleaved blocks.
RICH = (
    BEGIN
    + PING
    + start(0, type="thinking", thinking="", signature="")
    + delta(0, type="thinking_delta", thinking="Grüße 東京")
    + delta(0, type="signature_delta", signature="c2ln")
    + stop(0)
    + start(1, type="redacted_thinking", data="b3BhcXVl")
    + stop(1)
    + said("Let me look.", 2)
    + start(3, type="tool_use", id="a", name="f", input={})
    + start(4, type="tool_use", id="b", name="g")
    + delta(4, type="input_json_delta", partial_json='{"y":"👋')
    + delta(3, type="input_json_delta", partial_json="")
    + delta(4, type="input_json_delta", partial_json='"}')
    + stop(3)
    + stop(4)
    + finish("tool_use", {"output_tokens": 9})
)
CUT_HERE = [
    *STREAMS,
    Recording("here/rich", 200, {"content-type": SSE}, RICH, decode),
]


def test_the_rich_stream_holds_what_it_should() -> None:
    assert decode(RICH) == [
        Start("m", "msg_1"),
        Thinking("Grüße 東京"),
        Keep(ThinkingBlock("Grüße 東京", {"wire": "anthropic", "signature": "c2ln"})),
        Keep(ThinkingBlock("", {"wire": "anthropic", "redacted": "b3BhcXVl"})),
        Text("Let me look."),
        ToolCall("a", "f", {}, ""),
        ToolCall("b", "g", {"y": "👋"}, '{"y":"👋"}'),
        Usage(output=9),
        End("tool_use", "tool_use"),
    ]


@of_each(CUT_HERE)
def test_s13_a_stream_cut_at_every_byte_is_a_prefix_and_incomplete(recording: Recording) -> None:
    body, whole = recording.body, recording.decode(recording.body)
    content = [e for e in whole if not isinstance(e, Usage | End)]
    dropped = len(body) % 2 == 0
    # The end may lack its blank line, and the line feed before that.
    last = len(body) - 2 if body.endswith(b'stop"}\n\n') else len(body) + 1
    for cut in range(len(body)):
        got = recording.decode(body[:cut], dropped=dropped)
        if cut >= last:
            assert got == whole
            continue
        assert outcome(got) == ("stream_incomplete", "stream_incomplete")
        seen = [e for e in got if not isinstance(e, Usage | End)]
        assert seen == content[: len(seen)]
        assert not called(got)
        assert failure(got).retryable
        assert ("broke" in failure(got).message) == dropped


@of_each([r for r in ALL if r.status >= 400])
def test_recorded_errors_are_one_end_with_the_failure(recording: Recording) -> None:
    events = recording.decode(recording.body)
    assert len(events) == 1
    kinds = {"401": "auth_error", "429": "rate_limit", "500": "server_error", "529": "overloaded"}
    kinds |= {"context": "context_overflow", "badjson": "invalid_request", "emptyobj": "overloaded"}
    kinds |= {"nomatch": "overloaded", "nomessages": "server_error"}
    expected = next(kind for word, kind in kinds.items() if word in recording.name)
    assert failure(events).kind == expected
    assert failure(events).status == recording.status


EXPECTED: dict[str, tuple[str, str | None]] = {
    "aimock/anthropic_text": ("end_turn", None),
    "aimock/anthropic_text_stream": ("end_turn", None),
    "aimock/anthropic_unicode_stream": ("end_turn", None),
    "aimock/anthropic_length": ("max_tokens", None),
    "aimock/anthropic_length_stream": ("max_tokens", None),
    "aimock/anthropic_tool": ("tool_use", None),
    "aimock/anthropic_noargs_tool_stream": ("tool_use", None),
    "aimock/anthropic_content_filter": ("content_filter", "content_filter"),
    "aimock/anthropic_content_filter_stream": ("content_filter", "content_filter"),
    "aimock/anthropic_cut_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/anthropic_drop_stream": ("stream_incomplete", "stream_incomplete"),
    "aimock/anthropic_garbage": ("error", "parse_error"),
    "aimock/anthropic_garbage_stream": ("error", "parse_error"),
    "llama-server-bigram/anthropic_parallel_tools_stream": ("tool_use", None),
    "llama-server-bigram/anthropic_stop_seq": ("stop_sequence", None),
    "llama-server-bigram/anthropic_stop_seq_stream": ("stop_sequence", None),
    "llama-server-bigram/anthropic_length_stream": ("max_tokens", None),
    "llama-server-bigram/err_context_anthropic_stream": ("context_limit", "context_overflow"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recordings_end_as_they_should(name: str) -> None:
    assert outcome(BY_NAME[name].decode(BY_NAME[name].body)) == EXPECTED[name]


TWINS = [r.name for r in ALL if r.name + "_stream" in BY_NAME and not r.name.endswith(("_cut", "_drop"))]
TWINS = [name for name in TWINS if BY_NAME[name].status == 200]
assert len(TWINS) > 15


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_and_its_message_say_the_same(name: str) -> None:
    whole, stream = BY_NAME[name], BY_NAME[name + "_stream"]
    a, b = whole.decode(whole.body), stream.decode(stream.body)
    assert (text(a), thinking(a), kept(a)) == (text(b), thinking(b), kept(b))
    assert [c[1:] for c in called(a)] == [c[1:] for c in called(b)]
    assert a[-1] == b[-1]


def test_recorded_thinking_is_kept_only_with_a_signature() -> None:
    mock, llama = (
        BY_NAME["aimock/anthropic_reasoning_stream"],
        BY_NAME["llama-server-bigram/anthropic_thinking_stream"],
    )
    state = {"wire": "anthropic", "signature": "aimock-placeholder-signature"}
    assert kept(mock.decode(mock.body)) == [ThinkingBlock("First I consider 2+2, then I answer.", state)]
    assert thinking(llama.decode(llama.body)) == "First I think hard.\n"
    assert kept(llama.decode(llama.body)) == []


def test_recorded_usage_counts_the_cached_input() -> None:
    r = BY_NAME["llama-server-bigram/anthropic_text_stream"]
    usage = next(e for e in r.decode(r.body) if isinstance(e, Usage))
    assert (usage.input, usage.cache_read) == (46, 45)


# ---- §2.5, table of stop reasons, the Anthropic column

STOPS: list[tuple[str, bytes, str, str | None]] = [
    ("end_turn", TEXT + finish("end_turn"), "end_turn", None),
    ("tool_use", TOOL + finish("tool_use"), "tool_use", None),
    ("max_tokens", TEXT + finish("max_tokens"), "max_tokens", None),
    ("stop_sequence", TEXT + finish("stop_sequence", stop_sequence="x"), "stop_sequence", None),
    ("stop_sequence of llama.cpp", TEXT + finish("end_turn", stop_sequence="x"), "stop_sequence", None),
    ("refusal", TEXT + finish("refusal"), "refusal", "content_filter"),
    ("content_filter of gateways", TEXT + finish("content_filter"), "content_filter", "content_filter"),
    ("context_limit", TEXT + finish("model_context_window_exceeded"), "context_limit", "context_overflow"),
    ("pause", TEXT + finish("pause_turn"), "pause", None),
    (
        "malformed: args not JSON",
        call(0, "a", "f", "{x") + finish("tool_use"),
        "malformed_tool_call",
        "malformed_tool_call",
    ),
    (
        "error event",
        TEXT + frame({"type": "error", "error": {"type": "api_error", "message": "m"}}),
        "error",
        "server_error",
    ),
    ("stream_incomplete", TEXT, "stream_incomplete", "stream_incomplete"),
]


@pytest.mark.parametrize(("stream", "reason", "kind"), [c[1:] for c in STOPS], ids=[c[0] for c in STOPS])
def test_table_of_stop_reasons(stream: bytes, reason: str, kind: str | None) -> None:
    assert outcome(decode(BEGIN, stream)) == (reason, kind)


@pytest.mark.parametrize(
    "reason", ["end_turn", "max_tokens", "stop_sequence", "refusal", "pause_turn", "model_context_window_exceeded"]
)
def test_a_whole_message_ends_as_its_stream(reason: str) -> None:
    whole = decode(message({"type": "text", "text": "hi"}, stop_reason=reason), content_type=JSON)
    assert whole[-1] == decode(BEGIN, TEXT, finish(reason))[-1]


# ---- §2.5, table of error kinds: (words, status, kind), as a refusal and inside a stream

KINDS: list[tuple[str, int, str]] = [
    ("authentication_error", 401, "auth_error"),
    ("permission_error", 403, "auth_error"),
    ("billing_error", 402, "quota"),
    ("enforced_spend_limit_reached", 429, "quota"),
    ("rate_limit_error", 429, "rate_limit"),
    ("overloaded_error", 529, "overloaded"),
    ("api_error", 500, "server_error"),
    ("api_error", 502, "server_error"),
    ("timeout_error", 504, "server_error"),
    ("request_too_large", 413, "too_large"),
    ("invalid_request_error", 400, "invalid_request"),
    ("invalid_request_error", 422, "invalid_request"),
    ("not_found_error", 404, "not_found"),
]
RETRIED = {"rate_limit", "overloaded", "server_error", "parse_error", "stream_incomplete"}


@pytest.mark.parametrize(("word", "status", "kind"), KINDS, ids=[f"{k[1]} {k[0]}" for k in KINDS])
def test_table_of_error_kinds(word: str, status: int, kind: str) -> None:
    error = {"type": "error", "error": {"type": word, "message": "m"}, "request_id": "req_1"}
    refused = failure(decode(json.dumps(error).encode(), status=status, content_type=JSON))
    in_stream = failure(decode(BEGIN, TEXT, frame(error)))
    for found in (refused, in_stream):
        assert (found.kind, found.retryable, found.provider_code) == (kind, kind in RETRIED, word)
    assert (refused.status, in_stream.status) == (status, 200)


@pytest.mark.parametrize(
    "words",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length",
    ],
)
def test_u18_context_overflow_is_told_by_its_words(words: str) -> None:
    error = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": words}}).encode()
    assert outcome(decode(error, status=400, content_type=JSON)) == ("context_limit", "context_overflow")


def test_a_stop_sequence_beside_another_reason_does_not_change_it() -> None:
    for reason in ("max_tokens", "refusal", "pause_turn"):
        assert outcome(decode(BEGIN, TEXT, finish(reason, stop_sequence="x"))) == outcome(
            decode(BEGIN, TEXT, finish(reason))
        )


def test_a_refusal_says_why_and_hands_out_no_call() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    events = decode(BEGIN, TEXT, TOOL, finish("refusal", stop_details=details))
    found = failure(events)
    assert (found.kind, found.message, found.provider_code, found.retryable) == (
        "content_filter",
        "Not this.",
        "bio",
        False,
    )
    assert called(events) == []
    assert text(events) == "hi"
    assert "refusal" in failure(decode(BEGIN, finish("refusal", stop_details={"explanation": None}))).message


# ---- W13, W14: events and deltas


def test_w13_unknown_events_blocks_deltas_and_pings_are_passed_over() -> None:
    noise = PING + frame({"type": "later", "delta": {"text": "no"}}) + frame(b"pong", "ping") + b": comment\n\n"
    noise += frame(b"null") + frame(b"[]") + frame(b": ping") + frame(b"[DONE]")
    odd = start(7, type="later", text="no") + delta(7, type="later_delta", text="no") + stop(7) + stop(99)
    odd += delta(0, type="citations_delta", citation={"cited_text": "no"})
    events = decode(noise, BEGIN, noise, TEXT, odd, noise, finish("end_turn"))
    assert events == [Start("m", "msg_1"), Text("hi"), End("end_turn", "end_turn")]


def test_w14_what_the_server_runs_itself_is_no_call() -> None:
    own = start(0, type="server_tool_use", id="s", name="web_search", input={})
    own += delta(0, type="input_json_delta", partial_json='{"query":"x"}') + stop(0)
    own += start(1, type="web_search_tool_result", tool_use_id="s", content=[{"type": "x"}]) + stop(1)
    events = decode(BEGIN, own, said("hi", 2), finish("end_turn"))
    assert events == [Start("m", "msg_1"), Text("hi"), End("end_turn", "end_turn")]


def test_w14_text_that_stands_in_the_blocks_start_counts() -> None:
    events = decode(
        BEGIN, start(0, type="text", text="h"), delta(0, type="text_delta", text="i"), finish("end_turn")
    )
    assert text(events) == "hi"


def test_s10_json_type_counts_before_the_events_name_and_the_name_where_there_is_no_type() -> None:
    renamed = TEXT.replace(b"event: content_block_delta", b"event: ping")
    assert text(decode(BEGIN, renamed, finish("end_turn"))) == "hi"
    unnamed = re.sub(rb"event: \w+\n", b"", BEGIN + TEXT + finish("end_turn"))
    assert text(decode(unnamed)) == "hi"
    untyped = re.sub(rb'"type": "(?:content_block|message)_\w+"(?:, )?', b"", BEGIN + TEXT + finish("end_turn"))
    assert text(decode(untyped)) == "hi"


def test_s10_an_error_event_is_an_error_whatever_its_payload() -> None:
    for payload in (b"it broke", b'{"message":"it broke"}', b'{"error":{"message":"it broke"}}', b'"it broke"'):
        events = decode(BEGIN, TEXT, b"event: error\ndata: " + payload + b"\n\n")
        assert outcome(events) == ("error", "server_error")
        assert failure(events).message == "it broke"


def test_u6_an_error_event_at_200_is_told_by_its_type_and_usage_is_kept() -> None:
    begin = frame({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}})
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = decode(begin, TEXT, frame(error), finish("end_turn"))
    assert events[1:3] == [Text("hi"), Usage(input=3)]
    assert outcome(events) == ("error", "overloaded")
    assert failure(events).retryable
    assert not decode(frame(error))[:-1]


def test_errors_in_openais_shape_are_errors_in_stream_and_body() -> None:
    error = {"error": {"code": 400, "type": "exceed_context_size_error", "message": "m"}}
    assert outcome(decode(BEGIN, TEXT, frame(error))) == ("context_limit", "context_overflow")
    assert outcome(decode(json.dumps(error).encode(), content_type=JSON)) == ("context_limit", "context_overflow")


def test_a_missing_message_start_is_made_up_before_the_first_content() -> None:
    assert decode(TEXT, finish("end_turn"))[:2] == [Start("asked", ""), Text("hi")]


def test_done_ends_an_answer_that_has_its_stop_reason_and_no_other() -> None:
    done = frame(b"[DONE]")
    finished = finish("end_turn").replace(STOP, done)
    assert outcome(decode(BEGIN, TEXT, finished)) == ("end_turn", None)
    assert outcome(decode(BEGIN, TEXT, done))[0] == "stream_incomplete"


def test_s13_a_stop_reason_without_message_stop_is_incomplete_and_gives_no_call() -> None:
    events = decode(BEGIN, TEXT, TOOL, finish("tool_use").replace(STOP, b""))
    assert outcome(events) == ("stream_incomplete", "stream_incomplete")
    assert called(events) == []
    assert end(events).raw_reason == "tool_use"


def test_message_stop_ends_at_once_and_what_follows_is_ignored() -> None:
    decoder = Decoder(status=200, content_type=SSE, headers={}, model="m")
    events = decoder.feed(BEGIN + TEXT + finish("end_turn").replace(STOP, b""))
    assert not decoder.answered
    events += decoder.feed(STOP + TEXT)
    assert decoder.ended
    assert decoder.answered
    assert text(events) == "hi"


def test_s7_a_last_event_without_a_blank_line_counts() -> None:
    assert outcome(decode(BEGIN + TEXT + finish("end_turn").rstrip())) == ("end_turn", None)


def test_s1_crlf_streams_read_the_same() -> None:
    assert decode(RICH.replace(b"\n", b"\r\n")) == decode(RICH)


def test_s3_invalid_utf8_and_lone_surrogates_are_replaced() -> None:
    broken = delta(0, type="text_delta", text="a?\ud83d").replace(b"?", b"\xff")
    assert text(decode(BEGIN, broken, finish("end_turn"))) == "a\ufffd\ufffd"


def test_s11_a_body_and_a_stream_are_read_whatever_the_content_type() -> None:
    for content_type in (JSON, SSE, "", "text/plain"):
        body = decode(b"\n \n", message({"type": "text", "text": "hi"}), content_type=content_type)
        assert body == [Start("m", "x"), Text("hi"), End("end_turn", "end_turn")]
        assert text(decode(BEGIN, TEXT, finish("end_turn"), content_type=content_type)) == "hi"


def test_s11_garbage_is_a_parse_error_with_a_short_clean_snippet() -> None:
    for page in (
        b"<html>\x1b[2J\n<p>" + b"x" * 500,
        BEGIN + frame(b"<html>\x1b[2J\n<p>" + b"x" * 500, "content_block_delta"),
    ):
        found = failure(decode(page))
        assert found.kind == "parse_error"
        assert found.retryable
        assert "<html> [2J" in found.message
        assert len(found.message) <= len("the answer is not JSON: ") + 200


def test_s9_too_much_is_too_large_after_what_came_before() -> None:
    events = decode(BEGIN + TEXT + delta(0, type="text_delta", text="x" * 2000), max_bytes=1000)
    assert text(events) == "hi"
    assert outcome(events) == ("error", "too_large")
    assert outcome(decode(b"{" + b" " * 2000, content_type=JSON, max_bytes=1000)) == ("error", "too_large")
    for flood in (
        call(0, "a", "f", *["x" * 100] * 20),
        start(0, type="thinking") + delta(0, type="thinking_delta", thinking="x" * 100) * 20,
        start(0, type="redacted_thinking", data="x" * 100) * 20,
    ):
        assert outcome(decode(BEGIN, flood, max_bytes=1000)) == ("error", "too_large")


# ---- thinking


def test_u8_a_signature_that_comes_behind_later_text_still_keeps_its_thinking() -> None:
    stream = start(0, type="thinking") + delta(0, type="thinking_delta", thinking="hm")
    stream += start(1, type="text") + delta(1, type="text_delta", text="hi")
    stream += delta(0, type="signature_delta", signature="s") + stop(0) + stop(1)
    assert kept(decode(BEGIN, stream, finish("end_turn"))) == [
        ThinkingBlock("hm", {"wire": "anthropic", "signature": "s"})
    ]


def test_u8_hidden_thinking_is_kept_without_a_word() -> None:
    stream = start(0, type="thinking", thinking="") + delta(0, type="signature_delta", signature="s") + stop(0)
    events = decode(BEGIN, stream, TEXT, finish("end_turn"))
    assert events[1] == Keep(ThinkingBlock("", {"wire": "anthropic", "signature": "s"}))
    assert thinking(events) == ""


def test_u8_a_block_that_never_stopped_is_kept_at_the_end() -> None:
    stream = start(0, type="thinking", thinking="hm", signature="s") + start(1, type="redacted_thinking", data="d")
    assert [b.state for b in kept(decode(BEGIN, stream, finish("end_turn")))] == [
        {"wire": "anthropic", "signature": "s"},
        {"wire": "anthropic", "redacted": "d"},
    ]


def test_u8_what_is_kept_goes_back_as_it_came() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "thinking", "thinking": "", "signature": "t"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": [None]}},
    ]
    blocks: list[Any] = []
    for event in decode(message(*content, stop_reason="tool_use"), content_type=JSON):
        if isinstance(event, Keep):
            blocks.append(event.block)
        elif isinstance(event, Text):
            blocks.append(TextBlock(event.text))
        elif isinstance(event, ToolCall):
            blocks.append(ToolUseBlock(event.id, event.name, event.arguments or {}))
    stored = msgspec.json.decode(msgspec.json.encode(Message("assistant", blocks)), type=Message)
    sent = body(encode(Conversation([Message("user", "go"), stored]), Options(model="m"), dialect=ANTHROPIC))
    assert sent["messages"][1] == {"role": "assistant", "content": content}
    assert list(sent["messages"][1]["content"][-1]["input"]) == ["b", "a"]


# ---- tool calls


def test_a_call_whose_start_lacks_its_input_and_whose_stop_comes_late() -> None:
    stream = start(0, type="tool_use", id="a", name="f") + delta(0, type="input_json_delta", partial_json='{"x"')
    stream += start(1, type="tool_use", id="b", name="g") + delta(0, type="input_json_delta", partial_json=":1}")
    assert called(decode(BEGIN, stream, stop(0), finish("tool_use"))) == [("a", "f", {"x": 1}), ("b", "g", {})]


def test_two_calls_json_in_one_block_is_flagged_and_not_run() -> None:
    events = decode(BEGIN, call(0, "a", "f", '{"x":1}', '{"x":2}'), finish("tool_use"))
    assert events[1] == ToolCall("a", "f", None, '{"x":1}{"x":2}')
    assert outcome(events) == ("malformed_tool_call", "malformed_tool_call")


def test_an_index_used_twice_is_two_calls() -> None:
    events = decode(BEGIN, call(0, "a", "f", "{}"), call(0, "a", "f", '{"x":2}'), finish("tool_use"))
    assert [c[1:] for c in called(events)] == [("f", {}), ("f", {"x": 2})]
    assert len({c[0] for c in called(events)}) == 2


def test_input_given_with_the_start_counts_where_no_delta_follows() -> None:
    whole = start(0, type="tool_use", id="a", name="f", input={"x": 1})
    assert called(decode(BEGIN, whole, finish("tool_use"))) == [("a", "f", {"x": 1})]
    more = delta(0, type="input_json_delta", partial_json='{"x":2}')
    assert called(decode(BEGIN, whole, more, finish("tool_use"))) == [("a", "f", {"x": 2})]


@pytest.mark.parametrize("pieces", [(), ("",), (" ",), ("{", "}")])
def test_u11_no_arguments_are_an_empty_object(pieces: tuple[str, ...]) -> None:
    assert called(decode(BEGIN, call(0, "a", "f", *pieces, input={}), finish("tool_use"))) == [("a", "f", {})]


@pytest.mark.parametrize("raw", ['{"x":', '{"a":1}{"b":2}', "[1]", "null", '"x"', "NaN", "{'x': 1}", '{"x":1,}'])
def test_u10_arguments_that_are_not_one_object_are_flagged_and_never_guessed(raw: str) -> None:
    events = decode(BEGIN, call(0, "a", "f", raw), finish("tool_use"))
    assert events[1] == ToolCall("a", "f", None, raw)
    assert outcome(events) == ("malformed_tool_call", "malformed_tool_call")
    assert not failure(events).retryable


@pytest.mark.parametrize("given", [[1], 7, "{x", True])
def test_u10_a_body_whose_input_is_no_object_is_flagged(given: Any) -> None:
    events = decode(message({"type": "tool_use", "id": "a", "name": "f", "input": given}, stop_reason="tool_use"))
    assert called(events) == [("a", "f", None)]
    assert outcome(events)[0] == "malformed_tool_call"


@pytest.mark.parametrize("stream", [call(0, "a", None, "{}"), delta(5, type="input_json_delta", partial_json="{}")])
def test_u10_a_call_without_a_name_is_malformed(stream: bytes) -> None:
    events = decode(BEGIN, stream, finish("tool_use"))
    assert [c[1:] for c in called(events)] == [("", None)]
    assert outcome(events)[0] == "malformed_tool_call"


def test_u13_a_call_cut_by_the_length_limit_has_no_arguments_however_it_was_cut() -> None:
    for pieces in ((), ("",), ('{"x":',)):
        events = decode(BEGIN, call(0, "a", "f", "{}"), call(1, "b", "g", *pieces), finish("max_tokens"))
        assert called(events) == [("a", "f", {}), ("b", "g", None)]
        assert outcome(events) == ("max_tokens", None)
    whole = decode(BEGIN, call(0, "a", "f", '{"x":1}'), finish("max_tokens"))
    assert called(whole) == [("a", "f", {"x": 1})]
    blocks = [{"type": "tool_use", "id": i, "name": "f", "input": {"x": 1}} for i in "ab"]
    assert called(decode(message(*blocks, stop_reason="max_tokens"))) == [("a", "f", {"x": 1}), ("b", "f", None)]
    assert called(decode(message(*blocks, {"type": "text", "text": "t"}, stop_reason="max_tokens")))[1][2] == {
        "x": 1
    }


def test_calls_make_a_tool_use_of_any_reason_that_is_no_failure() -> None:
    for reason in ("tool_use", "end_turn", "stop_sequence", "pause_turn", "later", None):
        assert outcome(decode(BEGIN, TOOL, finish(reason))) == ("tool_use", None)
    assert outcome(decode(BEGIN, TEXT, finish("tool_use"))) == ("end_turn", None)
    assert outcome(decode(BEGIN, finish("tool_use")))[0] == "malformed_tool_call"


# ---- 200s without an answer


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "invalid_response"),
        (b'{"content":null}', "invalid_response"),
        (b'{"type":"message","stop_reason":"end_turn"}', "invalid_response"),
        (b'{"input_tokens":22}', "invalid_response"),
        (message(stop_reason=None), "invalid_response"),
        (message(None, 3, stop_reason="later"), "invalid_response"),
        (b"[]", "invalid_response"),
        (b"null", "invalid_response"),
        (b"", "parse_error"),
        (b"{bad", "parse_error"),
        (b"<html>", "parse_error"),
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', "rate_limit"),
        (b'{"type":"error","message":"m"}', "server_error"),
        (b'{"error":"text"}', "server_error"),
    ],
)
def test_u7_a_200_without_an_answer_is_never_ok(body: bytes, kind: str) -> None:
    events = decode(body, content_type=JSON)
    assert outcome(events) == ("error", kind)
    assert failure(events).retryable == (kind in RETRIED)


def test_a_stream_that_stops_without_a_word_is_never_ok() -> None:
    for stream in (STOP, BEGIN + STOP, BEGIN + finish(None), BEGIN + finish("later")):
        assert outcome(decode(stream)) == ("error", "invalid_response")


def test_an_empty_turn_is_an_end_of_turn() -> None:
    assert outcome(decode(BEGIN, finish("end_turn"))) == outcome(decode(message())) == ("end_turn", None)


def test_an_unknown_stop_reason_is_a_turn_if_content_came() -> None:
    assert decode(BEGIN, TEXT, finish("later"))[-1] == End("end_turn", "later")


def test_one_member_of_an_odd_type_does_not_lose_the_frame() -> None:
    odd = frame(
        {"type": "content_block_delta", "index": "0", "delta": {"type": "text_delta", "text": "hi", "thinking": {}}}
    )
    begin = frame({"type": "message_start", "message": {"id": 7, "model": None, "usage": "x"}})
    assert decode(begin, odd, finish("end_turn"))[:2] == [Start("asked", ""), Text("hi")]


def test_retry_after_of_an_error_response_is_read_with_the_clock_given() -> None:
    date = {"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}
    decoder = Decoder(status=429, content_type=JSON, headers=date, model="m", now_s=784111777.0)
    assert failure(decoder.close()).retry_after_s == 10.0


# ---- usage


def test_r11_input_holds_what_was_read_from_and_written_to_the_cache() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 7,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
        "output_tokens_details": {"thinking_tokens": 3},
        "service_tier": "standard",
    }
    expected = Usage(input=130, output=7, reasoning=3, cache_read=100, cache_write=20)
    assert anthropic.parse_usage(usage) == expected
    assert decode(message({"type": "text", "text": "hi"}, usage=usage))[-2] == expected


def test_w16_usage_is_cumulative_and_the_last_word_wins_for_each_count() -> None:
    first = {
        "input_tokens": 5,
        "output_tokens": 1,
        "cache_read_input_tokens": 40,
        "cache_creation_input_tokens": None,
    }
    begin = frame({"type": "message_start", "message": {"model": "m", "usage": first}})
    last = {"output_tokens": 9, "cache_read_input_tokens": None, "input_tokens": 6}
    events = decode(begin, TEXT, finish("end_turn", last))
    assert [e for e in events if isinstance(e, Usage)] == [Usage(input=46, output=9, cache_read=40)]
    assert isinstance(events[-2], Usage)
    assert decode(begin, TEXT)[-2] == Usage(input=45, output=1, cache_read=40)


def test_u14_usage_says_only_what_was_said() -> None:
    assert anthropic.parse_usage({"output_tokens": 0}) == Usage(output=0)
    assert anthropic.parse_usage({"cache_read_input_tokens": 4}) == Usage(cache_read=4)
    for nothing in (
        None,
        {},
        [],
        {"input_tokens": None},
        {"input_tokens": -1, "output_tokens": "1"},
        {"input_tokens": True},
    ):
        assert anthropic.parse_usage(nothing) is None
    assert anthropic.parse_usage(json.loads('{"input_tokens": 1, "output_tokens": Infinity}')) == Usage(input=1)


# ---- anything at all

SCRAPS = [
    BEGIN,
    TEXT,
    STOP,
    PING,
    TOOL,
    RICH,
    finish("end_turn"),
    finish("max_tokens"),
    b"data: ",
    b"{",
    b"}",
    b"\n\n",
]
SCRAPS += [
    b"\r",
    b"event: error\n",
    b": x\n",
    b"\xef\xbb",
    b"\xff",
    frame({"error": 1}),
    b"<html>",
    frame(b"[DONE]"),
]
SCRAPS += [message(), call(0, "a", "f", "{"), start(0, type="thinking", signature="s"), b"event: message_stop\n"]
KEYS = [
    "type",
    "index",
    "content_block",
    "delta",
    "message",
    "error",
    "usage",
    "id",
    "model",
    "content",
    "stop_reason",
]
KEYS += ["stop_sequence", "stop_details", "name", "input", "text", "thinking", "signature", "data", "partial_json"]
KEYS += ["input_tokens", "output_tokens_details", "explanation", "category"]
TYPES = [
    "message_start",
    "message_delta",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "error",
]
TYPES += ["tool_use", "text", "thinking", "redacted_thinking", "text_delta", "input_json_delta", "signature_delta"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
FRAMES = st.builds(
    lambda kind, more: frame({"type": kind} | more, kind),
    st.sampled_from(TYPES[:6]),
    st.dictionaries(st.sampled_from(KEYS[1:]), VALUES, max_size=4),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(SCRAPS) | FRAMES | st.binary(max_size=12) | VALUES.map(frame), max_size=8),
    st.sampled_from([200, 200, 200, 204, 302, 400, 429, 529]),
    st.sampled_from([SSE, JSON, ""]),
    st.booleans(),
)
def test_random_bytes_never_raise_and_end_exactly_once(
    pieces: list[bytes], status: int, content_type: str, dropped: bool
) -> None:
    events = decoded_in_any_pieces(decode, pieces, status=status, content_type=content_type, dropped=dropped)
    assert not called(events) or end(events).stop_reason in ("tool_use", "max_tokens", "malformed_tool_call")
    assert all(event.text for event in events if isinstance(event, Text | Thinking))


def test_a_thousand_event_stream_is_decoded_in_far_less_than_a_millisecond_each() -> None:
    stream = BEGIN + delta(0, type="text_delta", text="hi") * 1000 + finish("end_turn")
    begin = time.thread_time()
    assert len(decode(stream)) == 1002
    assert time.thread_time() - begin < 0.1


# ---- encode


def body(request: Any) -> Any:
    return json.loads(request.body)


def sent(
    model: str = "m", conversation: Conversation | None = None, dialect: Dialect = ANTHROPIC, **options: Any
) -> Any:
    return body(encode(conversation or FULL, Options(model=model, **options), dialect=dialect))


def dropped(model: str = "m", **options: Any) -> list[str]:
    request = encode(Conversation([]), Options(model=model, **options), dialect=ANTHROPIC)
    return [each.option for each in request.dropped]


SIGNED = {"wire": "anthropic", "signature": "s1"}
FULL = Conversation(
    system="Be brief.",
    messages=[
        Message(
            "user",
            [TextBlock("a "), ImageBlock("image/png", b"\x89PNG"), ImageBlock("image/png", url="https://x/y.png")],
        ),
        Message(
            "assistant",
            [
                ThinkingBlock("hm", SIGNED),
                TextBlock("Look."),
                ToolUseBlock("c1", "g", {"x": 1.0, "é": [None]}),
                ToolUseBlock("c2", "f", {}),
            ],
        ),
        Message(
            "user", [TextBlock("go"), ToolResultBlock("c1", "one"), ToolResultBlock("c2", "no", is_error=True)]
        ),
        Message("assistant", [ToolUseBlock("c3", "f", {})]),
        Message("user", [ToolResultBlock("c3", "")]),
        Message("assistant", "done"),
        Message("user", "thanks"),
    ],
    tools=[Tool("g", "Does g.", {"type": "object", "properties": {"x": {"type": "number"}}}), Tool("f")],
)


def said_by(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def a_text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text} | more


def test_encode_writes_the_whole_conversation_as_the_wire_wants_it() -> None:
    options = Options(
        model="m", stream=True, temperature=0.5, top_p=0.9, max_tokens=9, stop=["x"], tool_choice="auto"
    )
    request = encode(FULL, options, dialect=ANTHROPIC)
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.headers == {"Content-Type": JSON, "Accept": SSE, "anthropic-version": "2023-06-01"}
    assert body(request) == {
        "model": "m",
        "tools": [
            {
                "name": "g",
                "description": "Does g.",
                "input_schema": {"type": "object", "properties": {"x": {"type": "number"}}},
            },
            {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        ],
        "system": [a_text("Be brief.")],
        "messages": [
            said_by(
                "user",
                a_text("a "),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            ),
            said_by(
                "assistant",
                {"type": "thinking", "thinking": "hm", "signature": "s1"},
                a_text("Look."),
                {"type": "tool_use", "id": "c1", "name": "g", "input": {"x": 1.0, "é": [None]}},
                {"type": "tool_use", "id": "c2", "name": "f", "input": {}},
            ),
            said_by(
                "user",
                {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True},
                a_text("go"),
            ),
            said_by("assistant", {"type": "tool_use", "id": "c3", "name": "f", "input": {}}),
            said_by("user", {"type": "tool_result", "tool_use_id": "c3"}),
            said_by("assistant", a_text("done")),
            said_by("user", a_text("thanks")),
        ],
        "max_tokens": 9,
        "stream": True,
        "tool_choice": {"type": "auto"},
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "top_p": 0.9,
    }


def test_o14_encode_leaves_out_what_was_not_said_but_max_tokens() -> None:
    plain = Conversation([Message("user", "hi")])
    assert sent("m", plain, tool_choice="auto", parallel_tool_calls=False, stop=[]) == {
        "model": "m",
        "messages": [said_by("user", a_text("hi"))],
        "max_tokens": 8192,
        "stream": False,
    }


def test_o15_the_key_goes_into_one_header_and_a_token_as_bearer() -> None:
    assert anthropic.auth_headers("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    dialect = Dialect(betas=("one", "two"))
    token = anthropic.auth_headers("sk-ant-oat01-x", dialect=dialect)
    assert token["Authorization"] == "Bearer sk-ant-oat01-x"
    assert "x-api-key" not in token
    assert token["anthropic-beta"] == "oauth-2025-04-20,one,two"
    assert encode(FULL, Options(model="m"), dialect=dialect).headers["anthropic-beta"] == "one,two"
    assert not any(
        name.lower() in ("x-api-key", "authorization")
        for name in encode(FULL, Options(model="m"), dialect=dialect).headers
    )
    assert anthropic.models_path == "/v1/models"


# C6, W21: hygiene


def test_c6_neighbours_of_one_role_are_one_turn_results_first_calls_last() -> None:
    conversation = Conversation(
        [
            Message("user", "a"),
            Message("user", "b"),
            Message("assistant", [ToolUseBlock("1", "f", {}), TextBlock("t")]),
            Message("assistant", [ToolUseBlock("2", "f", {})]),
            Message("user", "wait"),
            Message("user", [ToolResultBlock("1", "x"), ToolResultBlock("2", "y")]),
        ]
    )
    assert [
        (turn["role"], [block.get("text") or block.get("id") or block["tool_use_id"] for block in turn["content"]])
        for turn in sent("m", conversation)["messages"]
    ] == [("user", ["a", "b"]), ("assistant", ["t", "1", "2"]), ("user", ["1", "2", "wait"])]


def test_c6_no_text_of_blanks_and_no_empty_turn_is_written() -> None:
    conversation = Conversation(
        [
            Message("user", [TextBlock(""), TextBlock("a")]),
            Message("assistant", " \n"),
            Message("user", "b"),
            Message("assistant", []),
        ],
        system=" ",
    )
    written = sent("m", conversation)
    assert written["messages"] == [said_by("user", a_text("a"), a_text("b"))]
    assert "system" not in written


def test_an_empty_prompt_is_left_for_the_server_to_refuse() -> None:
    conversation = Conversation([Message("user", "a"), Message("assistant", "b"), Message("user", "")])
    assert sent("m", conversation)["messages"][-1] == said_by("user")


def test_c7_foreign_state_images_of_the_model_and_unsigned_thinking_are_left_out() -> None:
    blocks = [
        ThinkingBlock("x", {"wire": "gemini", "signature": "s"}),
        ThinkingBlock("y"),
        ThinkingBlock("z", {"wire": "anthropic", "signature": ""}),
        ImageBlock("image/png", b"x"),
        TextBlock("t", {"wire": "gemini"}),
        ToolUseBlock("1", "f", {}, {"wire": "gemini", "thoughtSignature": "s"}),
    ]
    turn = sent("m", Conversation([Message("assistant", blocks)]))["messages"][0]
    assert turn["content"] == [a_text("t"), {"type": "tool_use", "id": "1", "name": "f", "input": {}}]


def test_c7_foreign_ids_become_ids_of_this_wire_the_same_ones_on_both_sides() -> None:
    ids = ["a.b", "a:b", "", "é", "call_1", "x" * 100 + "!"]
    uses = Message("assistant", [ToolUseBlock(i, "f", {}) for i in ids])
    results = Message("user", [ToolResultBlock(i, "r") for i in ids])
    turns = sent("m", Conversation([uses, results]))["messages"]
    written = [block["id"] for block in turns[0]["content"]]
    assert written == [block["tool_use_id"] for block in turns[1]["content"]]
    assert len(set(written)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", i) for i in written)
    assert written[4] == "call_1"


def test_w20_system_turns_are_sent_where_the_model_takes_them_and_folded_elsewhere() -> None:
    conversation = Conversation(
        [
            Message("system", "first"),
            Message("user", "a"),
            Message("system", "from now on"),
            Message("assistant", "b"),
            Message("system", "and"),
            Message("user", "c"),
        ],
        system="Be brief.",
    )
    older, newer = sent("claude-sonnet-4-5", conversation), sent("claude-opus-4-8", conversation)
    assert older["system"] == newer["system"] == [a_text("Be brief."), a_text("first")]
    assert older["messages"][0] == said_by("user", a_text("a"), a_text("from now on"))
    assert newer["messages"][:2] == [said_by("user", a_text("a")), said_by("system", a_text("from now on"))]
    assert older["messages"][-1] == newer["messages"][-1] == said_by("user", a_text("and"), a_text("c"))


@pytest.mark.parametrize(
    ("roles", "written"),
    [
        (["user", "system"], ["user", "system"]),
        (["user", "system", "system", "assistant"], ["user", "system", "assistant"]),
        (["user", "system", "user"], ["user"]),
        (["user", "assistant", "system"], ["user", "assistant", "user"]),
        (["user", "assistant", "system", "assistant"], ["user", "assistant", "user", "assistant"]),
    ],
)
def test_w20_a_system_turn_stands_only_between_a_users_and_the_models(roles: list[Any], written: list[str]) -> None:
    turns = sent("claude-opus-5-5", Conversation([Message(role, "x") for role in roles]))["messages"]
    assert [turn["role"] for turn in turns] == written


# W20: the same bytes


def test_encode_gives_the_same_bytes_for_the_same_input() -> None:
    options = Options(model="claude-opus-5", stream=True, thinking="high", cache=Cache(True, True, 2))
    again = msgspec.convert(msgspec.to_builtins(FULL), Conversation)
    assert encode(FULL, options, dialect=ANTHROPIC).body == encode(again, options, dialect=ANTHROPIC).body


def prefix(conversation: Conversation, **options: Any) -> bytes:
    whole = encode(conversation, Options(model="claude-opus-5-5", **options), dialect=ANTHROPIC).body
    return re.sub(rb',"cache_control":\{[^}]*\}', b"", whole[: whole.index(b',"max_tokens"')])


@pytest.mark.parametrize("cache", [None, Cache(system=True, tools=True, turns=2)])
def test_w20_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one(cache: Cache | None) -> None:
    system_turn = [Message("system", "new rule"), Message("assistant", "yes"), Message("user", "and")]
    history = msgspec.structs.replace(FULL, messages=[*FULL.messages, *system_turn])
    answered = [0, 2, 4, 6, 7, 9]  # turns are committed up to the model's answer; what is sent ends before one
    for shorter, longer in itertools.pairwise(answered):
        short, long = (
            prefix(msgspec.structs.replace(history, messages=history.messages[: n + 1]), cache=cache)
            for n in (shorter, longer)
        )
        whole_turns = short.removesuffix(b"]").removesuffix(b"]}")  # the last turn may still grow
        assert long.startswith(whole_turns)
        assert len(long) > len(short)


def test_the_options_stand_behind_all_that_a_cache_keeps() -> None:
    quiet = encode(FULL, Options(model="m"), dialect=ANTHROPIC).body
    loud = encode(
        FULL, Options(model="m", temperature=1, tool_choice="required", stop=["x"], max_tokens=5), dialect=ANTHROPIC
    ).body
    common = quiet.index(b',"max_tokens"')
    assert quiet[:common] == loud[:common]


# W17: caches


def marks(written: Any) -> list[dict[str, Any]]:
    """All breakpoints in the order of the prefix: tools, system, turns."""
    blocks = [*written.get("tools", []), *written.get("system", [])]
    blocks += [block for turn in written["messages"] for block in turn["content"]]
    return [block for block in blocks if "cache_control" in block]


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.booleans(), st.integers(-1, 9), st.sampled_from(["5m", "1h"]))
def test_w17_at_most_four_breakpoints_and_no_1h_behind_a_5m(
    system: bool, tools: bool, turns: int, ttl: Any
) -> None:
    marked = marks(sent("m", cache=Cache(system, tools, turns, ttl)))
    ttls = [block["cache_control"].get("ttl", "5m") for block in marked]
    assert len(marked) == min(4, system + tools + max(0, min(turns, 4)))
    assert ttls == sorted(ttls)  # "1h" < "5m"
    assert set(ttls) <= {ttl}


def test_w17_the_last_users_turns_are_marked_results_too() -> None:
    written = sent("m", cache=Cache(tools=True, turns=2))
    assert [block.get("name") or block.get("tool_use_id") or block["text"] for block in marks(written)] == [
        "g",
        "c3",
        "thanks",
    ]
    assert marks(written)[0]["cache_control"] == {"type": "ephemeral"}
    assert marks(sent("m", cache=Cache(system=True, ttl="1h")))[0]["cache_control"] == {
        "type": "ephemeral",
        "ttl": "1h",
    }
    assert marks(sent("m", Conversation([Message("user", "")]), cache=Cache(True, True, 4))) == []


def test_i15_tools_are_sorted_for_a_cache_and_left_in_order_without_one() -> None:
    assert [tool["name"] for tool in sent("m", cache=Cache(turns=1))["tools"]] == ["f", "g"]
    for cache in (None, Cache()):
        assert [tool["name"] for tool in sent("m", cache=cache)["tools"]] == ["g", "f"]


# W5 of this wire: tool_choice


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", True, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("f", None, {"type": "tool", "name": "f"}),
        ("tool", False, {"type": "tool", "name": "tool", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice_and_parallel_calls(choice: str | None, parallel: bool | None, written: Any) -> None:
    assert sent("m", tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == written


# W18, W19: what which model takes

BUDGET = [
    "claude-3-7-sonnet-20250219",
    "claude-sonnet-4-20250514",
    "claude-opus-4-0",
    "claude-opus-4-1-20250805",
    "claude-sonnet-4-5",
    "claude-haiku-4-5-20251001",
    "claude-opus-4-5@20251101",
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "tiny",
]
ADAPTIVE = [
    "claude-opus-4-7",
    "claude-opus-4-8",
    "anthropic/claude-opus-4.8",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-mythos-preview",
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "claude-fable-5-2",
    "claude-mythos-5-1",
    "anthropic.claude-haiku-5-5-v1:0",
    "claude-opus-6",
    "claude-later",
]


@pytest.mark.parametrize("model", BUDGET)
def test_w19_up_to_4_5_thinking_is_a_budget_below_max_tokens(model: str) -> None:
    for level, tokens in (("minimal", 1024), ("low", 4096), ("medium", 10_000), (2000, 2000), (1, 1024)):
        written = sent(model, thinking=level)
        assert written["thinking"] == {"type": "enabled", "budget_tokens": tokens}
        assert written["max_tokens"] >= tokens + 1024
    assert "output_config" not in sent(model, thinking="high")


@pytest.mark.parametrize("model", ADAPTIVE)
def test_w19_from_4_7_thinking_is_adaptive_by_effort_and_no_sampling_is_sent(model: str) -> None:
    efforts = {
        "minimal": "low",
        "low": "low",
        "medium": "medium",
        "high": "high",
        "xhigh": "xhigh",
        500: "low",
        1024: "low",
        9999: "low",
        10_000: "medium",
        200_000: "xhigh",
    }
    for level, effort in efforts.items():
        written = sent(model, thinking=level)
        assert written["thinking"] == {"type": "adaptive", "display": "summarized"}
        assert written["output_config"] == {"effort": effort}
    written = sent(model, temperature=1, top_p=1)
    assert not {"temperature", "top_p", "thinking", "output_config"} & set(written)
    assert dropped(model, temperature=1, top_p=1, thinking="high") == ["temperature", "top_p"]


def test_w19_4_6_takes_levels_by_effort_and_numbers_as_a_budget() -> None:
    for model in ("claude-opus-4-6", "claude-sonnet-4.6", "anthropic.claude-opus-4-6-v1:0"):
        assert sent(model, thinking="xhigh")["thinking"] == {"type": "adaptive"}
        assert sent(model, thinking="xhigh")["output_config"] == {"effort": "max"}
        assert sent(model, thinking=5000)["thinking"] == {"type": "enabled", "budget_tokens": 5000}


@pytest.mark.parametrize(
    ("model", "written", "refused"),
    [
        ("claude-3-5-haiku-20241022", None, False),
        ("claude-sonnet-4-5", None, False),
        ("claude-opus-4-6", None, False),
        ("claude-opus-4-8", None, False),
        ("claude-opus-5", {"type": "disabled"}, False),
        ("claude-sonnet-5", {"type": "disabled"}, False),
        ("claude-haiku-5-5", {"type": "disabled"}, False),
        ("claude-sonnet-5-5", {"type": "between_tools"}, False),
        ("claude-opus-5-5", None, True),
        ("claude-fable-5", None, True),
        ("claude-fable-5-1", None, True),
        ("claude-mythos-preview", None, True),
        ("claude-later", None, True),
    ],
)
def test_w19_thinking_off_in_the_words_of_each_model(model: str, written: Any, refused: bool) -> None:
    for off in ("off", 0):
        assert sent(model, thinking=off).get("thinking") == written
        assert "output_config" not in sent(model, thinking=off)
        assert dropped(model, thinking=off) == (["thinking"] if refused else [])


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("claude-opus-4-8", True),
        ("claude-opus-5", True),
        ("claude-haiku-5-5", True),
        ("claude-opus-5-5", False),
        ("claude-sonnet-5-5", False),
        ("claude-fable-5-1", False),
    ],
)
def test_w19_a_tool_is_forced_only_where_the_model_takes_it(model: str, taken: bool) -> None:
    for choice, written in (("required", {"type": "any"}), ("f", {"type": "tool", "name": "f"})):
        assert sent(model, tool_choice=choice).get("tool_choice") == (written if taken else None)
        assert dropped(model, tool_choice=choice) == ([] if taken else ["tool_choice"])
    assert sent(model, tool_choice="none")["tool_choice"] == {"type": "none"}


def test_a_forced_tool_goes_before_thinking() -> None:
    assert "thinking" not in sent("claude-sonnet-4-5", thinking="high", tool_choice="required")
    assert dropped("claude-sonnet-4-5", thinking="high", tool_choice="required") == ["thinking"]
    assert dropped("claude-opus-5-5", thinking="high", tool_choice="required") == ["tool_choice"]


def test_sampling_goes_out_as_each_generation_takes_it() -> None:
    assert {"temperature", "top_p"} <= set(sent("claude-3-5-sonnet-20241022", temperature=0, top_p=0.5))
    assert sent("claude-sonnet-4-5", temperature=0, top_p=0.5)["temperature"] == 0
    assert dropped("claude-sonnet-4-5", temperature=0, top_p=0.5) == ["top_p"]
    assert sent("claude-sonnet-4-5", top_p=0.5)["top_p"] == 0.5
    assert dropped("claude-sonnet-4-5", temperature=0, thinking="low") == ["temperature"]
    assert dropped("claude-3-5-sonnet-20241022", thinking="low", temperature=0) == ["thinking"]


def test_what_the_wire_has_no_field_for_is_dropped_by_name() -> None:
    assert dropped(seed=1, num_ctx=2, keep_alive="5m") == ["seed", "num_ctx", "keep_alive"]
    assert not {"seed", "num_ctx", "keep_alive"} & set(sent(seed=1, num_ctx=2, keep_alive="5m"))
    assert dropped(temperature=1, stop=["x"], max_tokens=3, cache=Cache(True)) == []


def test_w18_a_response_schema_is_a_format_beside_the_effort() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}}
    form = {"type": "json_schema", "schema": schema | {"additionalProperties": False}}
    assert sent("claude-sonnet-4-5", response_schema=schema)["output_config"] == {"format": form}
    assert sent("claude-opus-5", response_schema=schema, thinking="low")["output_config"] == {
        "effort": "low",
        "format": form,
    }
    for model in ("claude-opus-4-1", "claude-sonnet-4-20250514", "tiny", "claude-opus-5"):
        options = Options(model=model, response_schema=schema)
        assert anthropic.takes_schema(Conversation([]), options, dialect=ANTHROPIC) == (model == "claude-opus-5")


@pytest.mark.parametrize(
    ("model", "options", "tokens", "budget"),
    [
        ("claude-sonnet-4-5", {}, 8192, None),
        ("claude-3-haiku-20240307", {}, 4096, None),
        ("claude-sonnet-4-5", {"max_tokens": 100}, 100, None),
        ("claude-sonnet-4-5", {"thinking": "medium"}, 18_192, 10_000),
        ("claude-sonnet-4-5", {"thinking": "xhigh"}, 64_000, 62_976),
        ("claude-opus-4-1", {"thinking": "high"}, 32_000, 30_976),
        ("claude-sonnet-4-5", {"thinking": "high", "max_tokens": 5000}, 5000, 3976),
        ("claude-sonnet-4-5", {"thinking": "high", "max_tokens": 1500}, 1500, 1024),
        ("claude-sonnet-4-5", {"thinking": "high", "max_tokens": 1024}, 1024, None),
        ("claude-opus-5", {"thinking": "high"}, 40_192, None),
        ("claude-opus-5", {"thinking": "xhigh", "max_tokens": 10}, 10, None),
        ("tiny", {"thinking": "xhigh"}, 108_192, 100_000),
    ],
)
def test_i14_thinking_has_its_own_room_and_a_given_max_tokens_is_never_passed(
    model: str, options: dict[str, Any], tokens: int, budget: int | None
) -> None:
    written = sent(model, **options)
    assert written["max_tokens"] == tokens
    assert written.get("thinking", {}).get("budget_tokens") == budget
    if options == {"thinking": "high", "max_tokens": 1024}:
        assert dropped(model, **options) == ["thinking"]


# ---- the table of models


def test_c4_a_configurations_rows_lie_over_the_table_that_ships() -> None:
    over = [
        {"pattern": "claude-opus-4-8", "sampling": "both"},
        {"pattern": "house-.*", "thinking": "none", "max_output": 100},
    ]
    dialect = Dialect(facts=models.claude(over))
    assert sent("claude-opus-4-8", dialect=dialect, temperature=1)["temperature"] == 1
    assert sent("claude-opus-4-8", dialect=dialect, thinking="low")["thinking"]["type"] == "adaptive"
    assert sent("house-1", dialect=dialect, thinking="low")["max_tokens"] == 100
    assert "temperature" not in sent("claude-opus-4-8", temperature=1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"pattern": "x", "samplings": "one"}, "samplings"),
        ({"pattern": "x", "sampling": "some"}, "sampling"),
        ({"pattern": "(", "sampling": "one"}, r"'\('"),
        ({"sampling": "one"}, "pattern"),
    ],
)
def test_a_row_that_cannot_be_is_a_config_error_that_names_it(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        models.claude([row])


def test_every_shipped_row_is_the_first_for_some_model() -> None:
    known = [
        *BUDGET,
        *ADAPTIVE,
        "claude-opus-4-6",
        "claude-3-5-sonnet-20241022",
        "claude-3-haiku-20240307",
        "claude-2.1",
    ]
    rows = [re.compile(row["pattern"], re.IGNORECASE) for row in models.shipped()["anthropic"]]
    first = {next((i for i, row in enumerate(rows) if row.fullmatch(model)), None) for model in known}
    assert first >= set(range(len(rows)))


# ---- the official package's types


hints_of = functools.cache(typing.get_type_hints)


def fits(value: Any, kind: Any) -> bool:
    """Whether the value is of that annotation, to its depth; a TypedDict takes no member it does not name."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if typing.is_typeddict(kind) or hasattr(kind, "__required_keys__"):
        hints = hints_of(kind)
        if not isinstance(value, dict) or not kind.__required_keys__ <= set(value):
            return False
        return all(name in hints and fits(item, hints[name]) for name, item in value.items())
    if str(origin).endswith(("Required", "NotRequired", "Annotated")):
        return fits(value, args[0])
    if origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        return any(fits(value, arg) for arg in args)
    if str(origin).endswith("Literal"):
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, args[0]) and fits(v, args[1]) for k, v in value.items())
    if isinstance(origin, type) and (issubclass(origin, collections.abc.Iterable) or "Sequence" in origin.__name__):
        return isinstance(value, list) and all(fits(item, args[0]) for item in value)
    if kind in (Any, object):
        return True
    if kind in (str, bool, int, type(None)):
        return type(value) is kind
    return kind is float and type(value) in (int, float)


@pytest.fixture(scope="module")
def official() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from anthropic.types import message_create_params
        except ImportError as error:
            pytest.skip(f"the official `anthropic` package is not installed ({error})")
    return message_create_params


MODELS = st.sampled_from([*BUDGET, *ADAPTIVE, "claude-opus-4-6", "claude-3-5-haiku-20241022"])
WORDS = st.sampled_from(["", " ", "a", "Grüße 東京"])
STATES = st.sampled_from(
    [None, SIGNED, {"wire": "anthropic", "redacted": "d"}, {"wire": "gemini", "signature": "x"}]
)
IDS = st.sampled_from(["c1", "c.2", ""])
BLOCKS = st.one_of(
    st.builds(TextBlock, WORDS, STATES),
    st.builds(ThinkingBlock, WORDS, STATES),
    st.builds(
        ImageBlock, st.just("image/png"), st.sampled_from([b"", b"x"]), st.sampled_from([None, "https://x/y"])
    ),
    st.builds(ToolUseBlock, IDS, st.just("f"), st.dictionaries(st.just("x"), st.integers(), max_size=1), STATES),
    st.builds(ToolResultBlock, IDS, WORDS, st.booleans()),
)
CONVERSATIONS = st.builds(
    Conversation,
    st.lists(
        st.builds(Message, st.sampled_from(["user", "assistant", "system"]), WORDS | st.lists(BLOCKS, max_size=4)),
        max_size=5,
    ),
    st.none() | WORDS,
    st.lists(
        st.builds(
            Tool, st.sampled_from(["f", "g"]), WORDS, st.sampled_from([{}, {"type": "object", "required": ["x"]}])
        ),
        max_size=2,
    ),
)
OPTIONS = st.builds(
    Options,
    model=MODELS,
    stream=st.booleans(),
    temperature=st.none() | st.just(0.5),
    top_p=st.none() | st.just(1),
    max_tokens=st.none() | st.integers(1, 3000),
    seed=st.none() | st.just(1),
    stop=st.none() | st.just(["x"]),
    tool_choice=st.sampled_from([None, "auto", "none", "required", "f"]),
    parallel_tool_calls=st.none() | st.booleans(),
    thinking=st.sampled_from([None, "off", "minimal", "low", "medium", "high", "xhigh", 0, 3000]),
    response_schema=st.none() | st.just({"type": "object"}),
    cache=st.none()
    | st.builds(Cache, st.booleans(), st.booleans(), st.integers(0, 5), st.sampled_from(["5m", "1h"])),
)


@settings(max_examples=80, deadline=None)
@given(CONVERSATIONS, OPTIONS)
def test_any_request_keeps_the_rules_of_the_wire(conversation: Conversation, options: Options) -> None:
    written = body(encode(conversation, options, dialect=ANTHROPIC))
    turns = written["messages"]
    roles = [turn["role"] for turn in turns]
    assert all(a != b for a, b in itertools.pairwise(roles))
    assert all(turn["content"] for turn in turns[:-1])
    for turn in turns:
        kinds = [block["type"] for block in turn["content"]]
        assert kinds == sorted(kinds, key=lambda kind: (kind != "tool_result", kind == "tool_use"))
        assert all(block["text"].strip() for block in turn["content"] if block["type"] == "text")
        if "tool_use" in kinds or "thinking" in kinds:
            assert turn["role"] == "assistant"
        if "tool_result" in kinds or "image" in kinds:
            assert turn["role"] == "user"
    assert len(marks(written)) <= 4
    thinks = written.get("thinking", {})
    assert thinks.get("budget_tokens", 1024) >= 1024
    assert thinks.get("budget_tokens", 0) < written["max_tokens"]
    if thinks.get("type") in ("enabled", "adaptive"):
        assert not {"temperature", "top_p"} & set(written)
    said_options = {
        name for name in ("temperature", "top_p", "seed", "response_schema") if getattr(options, name) is not None
    }
    sent_options = set(written) | ({"response_schema"} if "format" in written.get("output_config", {}) else set())
    dropped = encode(Conversation([]), options, dialect=ANTHROPIC).dropped
    gone = [each.option for each in dropped if not each.how.startswith("was sent as")]
    assert said_options == (said_options & sent_options) | (said_options & set(gone))
    assert not (sent_options - {"tool_choice"}) & set(gone)  # `auto` may stand for a dropped one


@settings(max_examples=80, deadline=None)
@given(conversation=CONVERSATIONS, options=OPTIONS)
def test_any_request_is_one_of_the_official_packages_types(
    official: Any, conversation: Conversation, options: Options
) -> None:
    written = body(encode(conversation, options, dialect=ANTHROPIC))
    # Of version 2023-06-01, which is what we speak; the package's 2.x knows only the version without them.
    for name in ("temperature", "top_p"):
        written.pop(name, None)
    kind = "MessageCreateParamsStreaming" if options.stream else "MessageCreateParamsNonStreaming"
    assert fits(written, getattr(official, kind)), written


def test_the_check_against_the_official_types_is_one_that_can_fail(official: Any) -> None:
    kind = official.MessageCreateParamsNonStreaming
    good = sent("claude-opus-5", cache=Cache(True, True, 2, "1h"), thinking="high")
    assert fits(good, kind)
    for path, wrong in (
        (("bogus",), 1),
        (("max_tokens",), "8"),
        (("messages", 0, "content", 0, "bogus"), 1),
        (("messages", 0, "content", 0, "text"), None),
        (("messages", 0, "role"), "tool"),
        (("messages", 1, "content", 0, "signature"), 3),
        (("tools", 0, "cache_control"), {"type": "ephemeral", "ttl": "2h"}),
        (("tools", 0, "input_schema"), []),
        (("thinking", "type"), "on"),
        (("output_config", "effort"), "minimal"),
        (("system", 0, "type"), "image"),
    ):
        bad = json.loads(json.dumps(good))
        place = bad
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = wrong
        assert not fits(bad, kind), path
