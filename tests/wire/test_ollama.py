"""Ollama's own wire: recordings at every cut, S2, both tables of §2.5, and what encode writes."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from decoding import (
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

from luahost.wire import ollama
from luahost.wire.events import End, Keep, Start, Text, Thinking, ToolCall, Usage
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
from luahost.wire.ollama import Decoder, encode

NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"


# ---- helpers


decode = Reader(Decoder, NDJSON, more=b"{}\n")


def line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def chunk(content: Any = "", **more: Any) -> bytes:
    message = {"role": "assistant", "content": content} | more
    return line({"model": "m", "created_at": "2026-11-20T18:20:36.065Z", "message": message, "done": False})


def call(name: Any = "f", arguments: Any = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name} | ({} if arguments is None else {"arguments": arguments})} | more


def done(reason: str | None = "stop", created_at: str = "t", **more: Any) -> bytes:
    last = {"model": "m", "created_at": created_at, "message": {"role": "assistant", "content": ""}, "done": True}
    return line(last | ({} if reason is None else {"done_reason": reason}) | more)


TEXT = chunk("hi")
CALL = chunk(tool_calls=[call()])


# What no mock sends: Ollama's own stream with thinking, parallel calls, U+2028 and an emoji raw in a line.
OLLAMA = b"".join(
    [
        chunk("", thinking="Let me "),
        chunk("", thinking="think."),
        chunk("a \u2028 \u2029 \x85 \U0001f469"),
        chunk(tool_calls=[call("f", {"x": "\u2028"}, id="call_1"), call("g", {}, id="call_2")]),
        done(prompt_eval_count=26, eval_count=298, total_duration=5),
    ]
)
ALL = [
    *recordings(decode, "/api/chat$", ("aimock",), ("json", "ndjson")),
    Recording("ollama", 200, {"content-type": NDJSON}, OLLAMA, decode),
]
STREAMS = [r for r in ALL if r.content_type == NDJSON]
BY_NAME = {r.name: r for r in ALL}
assert len(ALL) == 9
assert len(STREAMS) == 4


# ---- recordings


@of_each(ALL)
def test_a_recording_decodes_the_same_whole_bytewise_and_at_random_cuts(recording: Recording) -> None:
    assert_the_same_bytewise_and_at_random_cuts(recording)


@of_each(STREAMS)
@pytest.mark.parametrize("dropped", [False, True])
def test_s13_a_stream_cut_at_every_byte_is_a_prefix_and_incomplete(recording: Recording, dropped: bool) -> None:
    body, whole = recording.body, recording.decode(recording.body)
    for cut in range(len(body)):
        got = recording.decode(body[:cut], dropped=dropped)
        if outcome(got)[0] != "stream_incomplete":  # only the last line end was missing
            assert cut == len(body) - 1
            assert got == whole
            continue
        assert got[:-1] == whole[: len(got) - 1]
        assert not calls(got)
        assert failure(got).retryable
        assert ("broke" in failure(got).message) == dropped


EXPECTED: dict[str, tuple[str, str | None]] = {
    "aimock/ollama_native_text": ("end_turn", None),
    "aimock/ollama_native_text_stream": ("end_turn", None),
    "aimock/ollama_native_reasoning": ("end_turn", None),
    "aimock/ollama_native_reasoning_stream": ("end_turn", None),
    "aimock/ollama_native_tool": ("tool_use", None),
    "aimock/ollama_native_tool_stream": ("tool_use", None),
    "aimock/ollama_native_err429": ("error", "rate_limit"),
    "aimock/ollama_native_err429_stream": ("error", "rate_limit"),
    "ollama": ("tool_use", None),
}


@of_each(ALL)
def test_recordings_end_as_they_should(recording: Recording) -> None:
    events = recording.decode(recording.body)
    assert outcome(events) == EXPECTED[recording.name]
    if recording.status == 429:
        assert failure(events).retry_after_s == 2.0
        assert len(events) == 1


@pytest.mark.parametrize("name", ["text", "reasoning", "tool"])
def test_a_stream_and_its_completion_say_the_same(name: str) -> None:
    a, b = (
        BY_NAME[n].decode(BY_NAME[n].body)
        for n in (f"aimock/ollama_native_{name}", f"aimock/ollama_native_{name}_stream")
    )
    assert (text(a), thinking(a), a[-2:]) == (text(b), thinking(b), b[-2:])
    assert [(c.name, c.arguments) for c in calls(a)] == [(c.name, c.arguments) for c in calls(b)]
    assert (thinking(a) != "") == (name == "reasoning")


def test_everything_of_a_turn_in_its_order() -> None:
    assert decode(OLLAMA) == [
        Start("m", ""),
        Thinking("Let me "),
        Thinking("think."),
        Text("a \u2028 \u2029 \x85 \U0001f469"),
        Keep(ThinkingBlock("Let me think.", {"wire": "ollama"})),
        ToolCall("call_1", "f", {"x": "\u2028"}, '{"x":"\u2028"}'),
        ToolCall("call_2", "g", {}, "{}"),
        Usage(input=26, output=298),
        End("tool_use", "stop"),
    ]


# ---- §2.5, table of stop reasons, the Ollama column

STOPS: list[tuple[str, bytes, str, str | None]] = [
    ("end_turn: done_reason stop", TEXT + done(), "end_turn", None),
    ("end_turn: older servers say no reason", TEXT + done(None), "end_turn", None),
    ("tool_use: stop with tool_calls", CALL + done(), "tool_use", None),
    ("max_tokens: length", TEXT + done("length"), "max_tokens", None),
    ("stop_sequence: stop", TEXT + done(), "end_turn", None),
    (
        "malformed: arguments are no object",
        chunk(tool_calls=[call(arguments=[1])]) + done(),
        "malformed_tool_call",
        "malformed_tool_call",
    ),
    (
        "error: error line",
        TEXT + line({"error": "an error was encountered while running the model"}),
        "error",
        "server_error",
    ),
    ("stream_incomplete: EOF, no done:true", TEXT, "stream_incomplete", "stream_incomplete"),
]


@pytest.mark.parametrize(("stream", "stop", "kind"), [c[1:] for c in STOPS], ids=[c[0] for c in STOPS])
def test_table_of_stop_reasons(stream: bytes, stop: str, kind: str | None) -> None:
    assert outcome(decode(stream)) == (stop, kind)


def test_context_limit_is_told_where_the_server_does_tell_it() -> None:
    body = line({"error": "the input length exceeds the context length"})
    for events in (decode(body, status=400, content_type=JSON), decode(TEXT, body)):
        assert outcome(events) == ("context_limit", "context_overflow")


@pytest.mark.parametrize(
    ("reason", "kind", "retryable"), [("load", "overloaded", True), ("unload", "invalid_response", False)]
)
def test_w33_a_server_that_only_loaded_the_model_did_not_answer(reason: str, kind: str, retryable: bool) -> None:
    events = decode(CALL, done(reason))
    assert not calls(events)
    assert outcome(events) == ("error", kind)
    assert end(events).raw_reason == reason
    assert failure(events).retryable == retryable


def test_an_unknown_reason_is_a_turn_only_if_content_came() -> None:
    assert decode(TEXT, done("weird"))[-1] == End("end_turn", "weird")
    assert outcome(decode(done("weird"))) == ("error", "invalid_response")


# ---- §2.5, table of error kinds, as Ollama says them

ERRORS: list[tuple[int, Any, str, bool]] = [
    (401, {"error": "unauthorized", "signin_url": "https://x"}, "auth_error", False),
    (403, {"error": "remote inference is unavailable"}, "auth_error", False),
    (402, {"error": "you have reached your weekly usage limit"}, "quota", False),
    (429, {"error": "too many requests"}, "rate_limit", True),
    (503, {"error": "server busy, please try again. maximum pending requests exceeded"}, "overloaded", True),
    (500, {"error": "llama runner process has terminated"}, "server_error", True),
    (502, b"<html>bad gateway", "server_error", True),
    (413, {"error": "http: request body too large"}, "too_large", False),
    (400, {"error": '"llama3" does not support tools'}, "invalid_request", False),
    (404, {"error": "model 'x' not found"}, "not_found", False),
]


@pytest.mark.parametrize(("status", "body", "kind", "retryable"), ERRORS, ids=[f"{e[2]}: {e[0]}" for e in ERRORS])
def test_table_of_error_kinds(status: int, body: Any, kind: str, retryable: bool) -> None:
    events = decode(body if isinstance(body, bytes) else line(body), status=status, content_type=JSON)
    assert outcome(events) == ("error", kind)
    assert failure(events).retryable == retryable
    assert failure(events).status == status


def test_w32_an_error_line_in_mid_stream_is_an_error_that_keeps_the_text_and_runs_no_call() -> None:
    events = decode(TEXT, CALL, line({"error": "unexpected EOF"}), done())
    assert events[:2] == [Start("m"), Text("hi")]
    assert len(events) == 3
    assert failure(events).message == "unexpected EOF"


def test_an_error_is_an_error_in_any_shape_and_also_without_a_line_end() -> None:
    for error in ("it broke", {"message": "it broke"}, {"message": "it broke", "code": 500}):
        for content_type in (NDJSON, JSON):
            found = failure(decode(line({"error": error}).rstrip(), content_type=content_type))
            assert (found.kind, found.message) == ("server_error", "it broke")


def test_parse_error_is_html_or_garbage_at_200() -> None:
    for body in (b"<html>busy</html>\n" * 3, b"{malformed: <<<", b"", b"\n\n", b"[1\n"):
        assert outcome(decode(body, content_type=JSON)) == ("error", "parse_error")
        assert outcome(decode(body, content_type=JSON, dropped=True)) == ("stream_incomplete", "stream_incomplete")
    assert outcome(decode(b"<html>\n", content_type=NDJSON)) == ("error", "parse_error")
    assert outcome(decode(TEXT, b"oops\n", TEXT)) == ("error", "parse_error")


@pytest.mark.parametrize("body", [b"{}", b"null", b"[]", TEXT])
def test_u7_a_200_without_done_is_never_ok(body: bytes) -> None:
    for content_type in (JSON, NDJSON):
        assert outcome(decode(body, content_type=content_type)) == ("stream_incomplete", "stream_incomplete")


# ---- lines


def test_s2_lines_end_at_lf_and_nowhere_else() -> None:
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"
    raw = json.dumps({"message": {"content": odd}}, ensure_ascii=False)
    for escaped in ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e"):  # a server that escapes nothing
        raw = raw.replace(json.dumps(escaped)[1:-1], escaped)
    stream = raw.encode() + b"\n" + done()
    assert text(decode(stream)) == odd
    assert text(decode(*(stream[i : i + 1] for i in range(len(stream))))) == odd


def test_crlf_blank_lines_and_a_bom_change_nothing() -> None:
    stream = b"\xef\xbb\xbf\n" + OLLAMA.replace(b"\n", b"\r\n\r\n")
    assert decode(stream)[:-1] == decode(OLLAMA)[:-1]


def test_s12_a_last_line_without_its_end_counts() -> None:
    assert decode(TEXT, done().rstrip()) == decode(TEXT, done())


def test_one_object_on_many_lines_is_one_object() -> None:
    whole = json.dumps(json.loads(done().decode()) | {"message": {"content": "hi"}}, indent=2).encode()
    for content_type in (JSON, NDJSON):
        assert text(decode(whole, content_type=content_type)) == "hi"
        assert decode(whole, content_type=content_type)[-1] == End("end_turn", "stop")


def test_done_ends_at_once_and_what_follows_is_ignored() -> None:
    decoder = Decoder(status=200, content_type=NDJSON, headers={}, model="m")
    assert not decoder.answered
    assert decoder.feed(TEXT + done() + TEXT)[-1] == End("end_turn", "stop")
    assert decoder.answered
    assert decoder.close() == []


def test_s3_broken_utf8_and_lone_surrogates_are_replaced_and_the_stream_lives() -> None:
    for broken in (b'{"message":{"content":"a\xff"}}\n', b'{"message":{"content":"a\\ud83d"}}\n'):
        assert text(decode(broken, done())) == "a\ufffd"


def test_s9_what_is_over_the_cap_is_too_large() -> None:
    for pieces, content_type in (
        ([TEXT, chunk("x" * 2000)], NDJSON),
        ([TEXT, b"{" + b" " * 2000], NDJSON),
        ([b"<html>\n" * 500], JSON),
        ([chunk(tool_calls=[call(arguments={"x": "y" * 100})])] * 20, NDJSON),
        ([chunk(thinking="x" * 100)] * 20, NDJSON),
    ):
        whole = b"".join(pieces)
        events = decode(whole, content_type=content_type, max_bytes=1000)
        assert outcome(events) == ("error", "too_large")
        assert decode(*bytewise(whole), content_type=content_type, max_bytes=1000) == events


# ---- calls


def test_u12_parallel_calls_that_all_say_index_0_stay_apart() -> None:
    same = [{"function": {"index": 0, "name": "f", "arguments": {"x": n}}} for n in (1, 2)]
    for stream in (chunk(tool_calls=same), b"".join(chunk(tool_calls=[one]) for one in same)):
        assert [c.arguments for c in calls(decode(stream, done()))] == [{"x": 1}, {"x": 2}]


def test_calls_without_ids_get_ids_that_no_other_turn_has() -> None:
    stream = chunk(tool_calls=[call(), call()])
    ids = [c.id for at in ("t1", "t2") for c in calls(decode(stream, done(created_at=at)))]
    assert len(set(ids)) == 4
    assert [c.id for c in calls(decode(stream, done(created_at="t1")))] == ids[:2]


def test_u11_no_arguments_are_an_empty_object_and_u10_anything_else_is_none() -> None:
    no_arguments: list[Any] = [None, {}, "", "{}"]
    for arguments in no_arguments:
        assert calls(decode(chunk(tool_calls=[call(arguments=arguments)]), done()))[0].arguments == {}
    odd: list[Any] = [[], "{x", 3, True]
    for arguments in odd:
        events = decode(chunk(tool_calls=[call(arguments=arguments)]), done())
        assert calls(events)[0].arguments is None
        assert outcome(events)[0] == "malformed_tool_call"
    assert outcome(decode(chunk(tool_calls=[{}]), done()))[0] == "malformed_tool_call"


def test_length_hands_out_whole_calls_and_reasoning_alone_is_kept_for_nobody() -> None:
    assert len(calls(decode(CALL, done("length")))) == 1
    assert not [e for e in decode(chunk("hi", thinking="hm"), done()) if isinstance(e, Keep)]


def test_u14_usage_says_only_what_was_said() -> None:
    assert Usage(output=4) in decode(TEXT, done(eval_count=4))
    assert not [e for e in decode(TEXT, done()) if isinstance(e, Usage)]
    for odd in (-1, "x", 1 << 63, 10**15):
        assert not [e for e in decode(TEXT, done(prompt_eval_count=odd, eval_count=odd)) if isinstance(e, Usage)]


def test_one_field_of_an_odd_type_does_not_lose_the_line() -> None:
    odd = {"model": None, "message": {"content": "hi", "thinking": {"x": 1}, "tool_calls": None}, "done": 0}
    assert decode(line(odd), done())[:2] == [Start("asked"), Text("hi")]


# ---- anything at all

SCRAPS = [TEXT, CALL, done(), done("length"), b"{", b"}", b"\n", b"\r", b'"', b"\xef\xbb", b"\xff", b"null\n"]
SCRAPS += [line({"error": "x"}), b"<html>", b"oops\n", "\u2028".encode()]
KEYS = ["model", "message", "content", "thinking", "tool_calls", "function", "name", "arguments", "id", "done"]
KEYS += ["done_reason", "prompt_eval_count", "eval_count", "error", "reasoning_content"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
CHUNKS = st.builds(
    lambda message, more: line({"message": message, **more}),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["done", "done_reason", "error", "eval_count"]), VALUES, max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(SCRAPS) | CHUNKS | st.binary(max_size=12) | VALUES.map(line), max_size=8),
    st.sampled_from([200, 200, 200, 204, 302, 400, 429, 500]),
    st.sampled_from([NDJSON, JSON, ""]),
    st.booleans(),
)
def test_random_bytes_never_raise_and_end_exactly_once(
    pieces: list[bytes], status: int, content_type: str, dropped: bool
) -> None:
    events = decoded_in_any_pieces(decode, pieces, status=status, content_type=content_type, dropped=dropped)
    assert all(event.text for event in events if isinstance(event, Text | Thinking))


def test_a_thousand_lines_are_decoded_in_far_less_than_a_millisecond_each() -> None:
    stream = TEXT * 1000 + done()
    start = time.thread_time()
    assert len(decode(stream)) == 1002
    assert time.thread_time() - start < 0.2


def test_s9_a_page_of_many_lines_costs_no_more_than_its_bytes() -> None:
    start = time.thread_time()
    assert outcome(decode(*[b"<p>\n"] * 100_000, content_type=JSON)) == ("error", "parse_error")
    assert time.thread_time() - start < 1


# ---- encode


def body(request: Any) -> Any:
    return json.loads(request.body)


TOOLS = [Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "number"}}}), Tool("g")]
FULL = Conversation(
    system="Be brief.",
    messages=[
        Message(
            "user",
            [
                TextBlock("a "),
                TextBlock("b"),
                ImageBlock("image/png", b"\x89PNG"),
                ImageBlock("image/png", url="https://x/y"),
            ],
        ),
        Message(
            "assistant",
            [
                ThinkingBlock("hm", {"wire": "ollama"}),
                ThinkingBlock("theirs", {"wire": "gemini", "thoughtSignature": "x"}),
                TextBlock("Let me look."),
                ToolUseBlock("c1", "f", {"x": 1.0, "\u00e9": [None]}),
                ToolUseBlock("c2", "g", {}, {"wire": "gemini", "id": "c2"}),
            ],
        ),
        Message(
            "user", [ToolResultBlock("c1", "one"), ToolResultBlock("c2", "no", is_error=True), TextBlock("go")]
        ),
        Message("assistant", [ToolUseBlock("c3", "g", {})]),
        Message("user", [ToolResultBlock("c3", "")]),
        Message("assistant", "done"),
        Message("user", ""),
    ],
    tools=TOOLS,
)


def dropped(options: Options) -> list[str]:
    return [each.option for each in encode(Conversation([]), options).dropped]


OPTIONS = Options(
    model="llama3.2",
    stream=True,
    temperature=0.5,
    top_p=1,
    max_tokens=9,
    seed=3,
    stop=["x"],
    num_ctx=8192,
    keep_alive="10m",
    tool_choice="auto",
)


def test_encode_writes_the_whole_conversation_as_the_wire_wants_it() -> None:
    request = encode(FULL, OPTIONS)
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.headers == {"Content-Type": "application/json", "Accept": NDJSON}
    assert body(request) == {
        "model": "llama3.2",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a b\n[image: https://x/y]", "images": ["iVBORw=="]},
            {
                "role": "assistant",
                "content": "Let me look.",
                "thinking": "hm",
                "tool_calls": [
                    {"id": "c1", "function": {"name": "f", "arguments": {"x": 1.0, "\u00e9": [None]}}},
                    {"id": "c2", "function": {"name": "g", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "one", "tool_name": "f", "tool_call_id": "c1"},
            {"role": "tool", "content": "no", "tool_name": "g", "tool_call_id": "c2"},
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c3", "function": {"name": "g", "arguments": {}}}],
            },
            {"role": "tool", "content": "", "tool_name": "g", "tool_call_id": "c3"},
            {"role": "assistant", "content": "done"},
            {"role": "user", "content": ""},
        ],
        "stream": True,
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
                "function": {"name": "g", "description": "", "parameters": {"type": "object", "properties": {}}},
            },
        ],
        "options": {"num_ctx": 8192, "num_predict": 9, "temperature": 0.5, "top_p": 1, "seed": 3, "stop": ["x"]},
        "keep_alive": "10m",
    }


def test_encode_leaves_out_what_was_not_said_but_stream_whose_default_is_true() -> None:
    request = encode(Conversation([Message("user", "hi")]), Options(model="m", stop=[]))
    assert body(request) == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    assert request.headers["Accept"] == "application/json"


def test_encode_gives_the_same_bytes_for_the_same_input_also_after_a_dump() -> None:
    again = msgspec.json.decode(msgspec.json.encode(FULL), type=Conversation)
    assert encode(FULL, OPTIONS).body == encode(again, OPTIONS).body


def test_a_turn_goes_back_with_its_reasoning_and_its_arguments_as_an_object() -> None:
    events = decode(OLLAMA)
    blocks = [e.block for e in events if isinstance(e, Keep)]
    uses = [ToolUseBlock(c.id, c.name, c.arguments or {}, c.state) for c in calls(events)]
    stored = Message("assistant", [TextBlock(text(events)), *blocks, *uses])
    assert body(encode(Conversation([stored]), Options(model="m")))["messages"] == [
        {
            "role": "assistant",
            "content": text(events),
            "thinking": "Let me think.",
            "tool_calls": [
                {"id": "call_1", "function": {"name": "f", "arguments": {"x": "\u2028"}}},
                {"id": "call_2", "function": {"name": "g", "arguments": {}}},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("thinking", "written"),
    [
        ("off", False),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "max"),
        (0, False),
        (4096, True),
    ],
)
def test_w33_thinking_is_a_switch_or_a_level(thinking: str | int, written: Any) -> None:
    options = Options(model="m", thinking=thinking)
    sent = body(encode(Conversation([]), options))["think"]
    assert (type(sent), sent) == (type(written), written)
    assert dropped(options) == (["thinking"] if thinking in (4096, "minimal", "xhigh") else [])


@pytest.mark.parametrize(("said", "written"), [("5m", "5m"), ("-1", -1), ("0", 0), ("30", 30), ("1.5h", "1.5h")])
def test_keep_alive_without_a_unit_is_a_number(said: str, written: Any) -> None:
    assert body(encode(Conversation([]), Options(model="m", keep_alive=said)))["keep_alive"] == written


def test_a_response_schema_is_the_format() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    assert body(encode(Conversation([]), Options(model="m", response_schema=schema)))["format"] == schema


def test_options_that_the_wire_has_no_word_for_are_named_and_none_is_kept_by_offering_no_tool() -> None:
    options = Options(model="m", tool_choice="required", parallel_tool_calls=False, cache=Cache())
    assert dropped(options) == ["cache", "tool_choice", "parallel_tool_calls"]
    assert dropped(OPTIONS) == []
    assert "tools" in body(encode(FULL, options))
    assert "tools" not in body(encode(FULL, Options(model="m", tool_choice="none")))
    assert dropped(Options(model="m", tool_choice="none")) == []


def test_a_key_is_a_bearer_and_only_where_one_is_given() -> None:
    assert ollama.auth_headers("k") == {"Authorization": "Bearer k"}
    assert not any("auth" in name.lower() for name in encode(FULL, OPTIONS).headers)
    assert ollama.models_path == "/api/tags"
