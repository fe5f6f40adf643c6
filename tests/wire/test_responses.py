"""OpenAI's Responses API: recordings at every cut, both tables of §2.5, what encode writes, when it is chosen."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from decoding import (
    SSE,
    Reader,
    Recording,
    assert_the_same_bytewise_and_at_random_cuts,
    decoded_in_any_pieces,
    of_each,
    outcome,
    recordings,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from luahost.wire.events import Event, Image, Keep, Refusal, Start, Text, Thinking, ToolCall, Usage
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
from luahost.wire.openai_responses import Decoder, encode
from luahost.wire.wires import wire

decode = Reader(Decoder, SSE, more=b"data: {}\n\n")


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def message(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content} | more


def call(name: str = "f", arguments: str = "{}", id: str = "call_1", **more: Any) -> dict[str, Any]:
    item = {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": name, "arguments": arguments}
    return item | {"status": "completed"} | more


def reasoning(text: str = "hm", id: str = "rs_1") -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "id": id, "summary": summary, "encrypted_content": f"secret of {id}"}


def response(*items: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "m", "status": status, "output": list(items)} | more


def body(*items: Any, status: str = "completed", **more: Any) -> bytes:
    return json.dumps(response(*items, status=status, **more)).encode()


def stream(*items: Any, status: str = "completed", **more: Any) -> bytes:
    """As OpenAI streams them: each item starts, grows by pieces with an `obfuscation` beside, and is done."""
    out = [event("response.created", response=response(status="in_progress"))]
    for place, item in enumerate(items):
        empty = {"content": [], "summary": [], "arguments": "", "status": "in_progress"}
        begun = {name: empty.get(name, value) for name, value in item.items() if name != "encrypted_content"}
        out.append(event("response.output_item.added", output_index=place, item=begun))
        at = {"item_id": item["id"], "output_index": place, "obfuscation": "xKq"}
        for part in item.get("content", []):
            text = part.get("text") or part.get("refusal")
            kind = "response.output_text.delta" if "text" in part else "response.refusal.delta"
            out += [event(kind, content_index=0, delta=text[i : i + 3], **at) for i in range(0, len(text), 3)]
        for number, part in enumerate(item.get("summary", [])):
            out.append(event("response.reasoning_summary_part.added", summary_index=number, part={}, **at))
            kind = "response.reasoning_summary_text.delta"
            out.append(event(kind, summary_index=number, delta=part["text"], **at))
        raw = item.get("arguments", "")
        kind = "response.function_call_arguments.delta"
        out += [event(kind, delta=raw[i : i + 4], **at) for i in range(0, len(raw), 4)]
        out.append(event("response.output_item.done", output_index=place, item=item))
    out.append(event(f"response.{status}", response=response(*items, status=status, **more)))
    return b"".join(out)


def joined(events: list[Event]) -> list[Event]:
    """With neighbouring pieces as one: where the pieces are cut is the server's affair."""
    out: list[Event] = []
    for each in events:
        last = out[-1] if out else None
        if isinstance(each, Text | Thinking | Refusal) and type(last) is type(each):
            out[-1] = type(each)(last.text + each.text)
        else:
            out.append(each)
    return out


# ---- recordings


# And what aimock does not say: shapes of OpenAI's own, each whole and as its stream.
MADE = {
    "reasoned_call": [reasoning(), call(arguments='{"x":1}')],
    "two_calls_each_reasoned": [reasoning(), call(), reasoning("ho", "rs_2"), call("g", '{"y":"ü"}', "call_2")],
    "phases": [message("looking", phase="commentary"), call()],
    "refused": [message("") | {"content": [{"type": "refusal", "refusal": "I will not."}]}],
    "two_summaries": [reasoning() | {"summary": [{"type": "summary_text", "text": t} for t in "ab"]}, message("x")],
    "searched": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, message("found")],
    "drawn": [{"type": "image_generation_call", "id": "ig_1", "result": "iVBORw==", "output_format": "png"}],
}
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 16,
}
ALL = recordings(decode, "/v1/responses$", ("aimock", "llama-server-bigram"))
ALL += [
    Recording(f"made/{name}", 200, {"content-type": "application/json"}, body(*items, usage=USAGE), decode)
    for name, items in MADE.items()
]
ALL += [
    Recording(f"made/{name}_stream", 200, {"content-type": SSE}, stream(*items, usage=USAGE), decode)
    for name, items in MADE.items()
]
STREAMS = [r for r in ALL if r.content_type.startswith(SSE)]
BY_NAME = {r.name: r for r in ALL}
assert len(STREAMS) >= 18


@of_each(ALL)
def test_a_recording_decodes_the_same_whole_bytewise_and_at_random_cuts(recording: Recording) -> None:
    assert_the_same_bytewise_and_at_random_cuts(recording)


@of_each(STREAMS)
def test_s13_a_stream_cut_at_every_byte_is_a_prefix_and_incomplete(recording: Recording) -> None:
    data, whole = recording.body, recording.decode(recording.body)
    dropped = len(data) % 2 == 0
    complete = outcome(whole)[0] != "stream_incomplete"
    for cut in range(len(data)):
        got = recording.decode(data[:cut], dropped=dropped)
        if complete and cut >= len(data.rstrip()):  # only the blank line behind the last event is missing
            assert got == whole
            continue
        assert outcome(got) == ("stream_incomplete", "stream_incomplete")
        assert got[:-1] == whole[: len(got) - 1]
        assert not any(isinstance(e, ToolCall) for e in got)
        assert got[-1].failure.retryable and ("broke" in got[-1].failure.message) == dropped


@pytest.mark.parametrize("name", [n for n in BY_NAME if f"{n}_stream" in BY_NAME and "cut" not in n])
def test_a_stream_and_its_whole_response_say_the_same(name: str) -> None:
    whole, streamed = joined(BY_NAME[name].decode(BY_NAME[name].body)), BY_NAME[f"{name}_stream"]
    said = joined(streamed.decode(streamed.body))
    ids = {"id", "model"}

    def shape(events: list[Event]) -> list[Any]:
        """Without what is drawn by lot: aimock gives ids of its own to each answer."""
        told = [(type(e).__name__, msgspec.to_builtins(e)) for e in events if not isinstance(e, Start)]
        return json.loads(
            json.dumps(told),
            object_hook=lambda d: {k: v for k, v in d.items() if k not in ids | {"encrypted_content"}},
        )

    if name.startswith("llama"):  # caches what it is asked twice
        assert [e for e in said if isinstance(e, Text)] == [e for e in whole if isinstance(e, Text)]
    else:
        assert shape(said) == shape(whole)


EXPECTED = {
    "text": ("end_turn", None),
    "tool": ("tool_use", None),
    "parallel_tools": ("tool_use", None),
    "tool_then_text": ("tool_use", None),
    "noargs_tool": ("tool_use", None),
    "reasoning": ("end_turn", None),
    "length": ("max_tokens", None),
    "content_filter": ("error", "server_error"),  # aimock says no more than "failed"
    "err401": ("error", "auth_error"),
    "err429": ("error", "rate_limit"),
    "err500": ("error", "server_error"),
    "err529": ("error", "overloaded"),
    "cut_stream": ("stream_incomplete", "stream_incomplete"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recordings_end_as_they_should(name: str) -> None:
    recording = BY_NAME[f"aimock/responses_{name}"]
    assert outcome(recording.decode(recording.body)) == EXPECTED[name]


# ---- the tables of §2.5

INCOMPLETE = {"incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"incomplete_details": {"reason": "content_filter"}}
STOPS = [
    ("end_turn: completed", stream(message("hi")), "end_turn", None),
    ("tool_use: completed with a call", stream(call()), "tool_use", None),
    ("max_tokens: incomplete", stream(message("hi"), status="incomplete", **INCOMPLETE), "max_tokens", None),
    ("refusal: a refusal part", stream(*MADE["refused"]), "refusal", "content_filter"),
    ("content_filter: incomplete", stream(status="incomplete", **FILTERED), "content_filter", "content_filter"),
    ("malformed_tool_call", stream(call(arguments='{"x":')), "malformed_tool_call", "malformed_tool_call"),
    (
        "error: failed",
        stream(status="failed", error={"code": "server_error", "message": "m"}),
        "error",
        "server_error",
    ),
    ("error: cancelled", stream(status="cancelled"), "error", "server_error"),
    ("stream_incomplete: EOF", stream(message("hi"))[:-400], "stream_incomplete", "stream_incomplete"),
    (
        "context_limit: failed",
        stream(status="failed", error={"code": "context_length_exceeded", "message": "m"}),
        "context_limit",
        "context_overflow",
    ),
]


@pytest.mark.parametrize(("data", "stop", "kind"), [c[1:] for c in STOPS], ids=[c[0] for c in STOPS])
def test_table_of_stop_reasons(data: bytes, stop: str, kind: str | None) -> None:
    assert outcome(decode(data)) == (stop, kind)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", "rate_limit"),
        ("insufficient_quota", "quota"),
        ("server_error", "server_error"),
        ("server_is_overloaded", "overloaded"),
        ("context_length_exceeded", "context_overflow"),
        ("invalid_prompt", "content_filter"),
        ("invalid_api_key", "auth_error"),
        ("model_not_found", "not_found"),
    ],
)
def test_table_of_error_kinds_as_an_event_a_failed_response_and_a_refused_request(code: str, kind: str) -> None:
    said = {"code": code, "message": "m", "param": None}
    assert outcome(decode(event("error", **said)))[1] == kind
    assert outcome(decode(stream(status="failed", error=said)))[1] == kind
    assert outcome(decode(json.dumps({"error": said}).encode()))[1] == kind
    refused = decode(json.dumps({"error": said | {"type": "invalid_request_error"}}).encode(), status=400)
    assert outcome(refused)[1] == (kind if kind != "server_error" else "invalid_request")


# ---- single points


def test_the_order_of_reasoning_and_calls_is_kept_for_the_way_back() -> None:
    events = decode(stream(*MADE["two_calls_each_reasoned"], usage=USAGE))
    kept = [e for e in events if isinstance(e, Keep | ToolCall)]
    assert [type(e) for e in kept] == [Keep, ToolCall, Keep, ToolCall]
    assert Usage(input=10, output=6, reasoning=5, cache_read=4, total=16) in events
    turn = [e.block if isinstance(e, Keep) else ToolUseBlock(e.id, e.name, e.arguments or {}) for e in kept]
    sent = json.loads(encode(Conversation([Message("assistant", turn)]), Options(model="gpt-5.4")).body)
    assert [item["type"] for item in sent["input"]] == ["reasoning", "function_call"] * 2
    assert sent["input"][2] == reasoning("ho", "rs_2")


def test_reasoning_without_its_encrypted_content_is_not_kept() -> None:
    bare = {name: value for name, value in reasoning().items() if name != "encrypted_content"}
    events = decode(stream(bare, message("x")))
    assert Thinking("hm") in events and not any(isinstance(e, Keep) for e in events)


def test_a_call_that_the_limit_cut_is_handed_out_without_arguments_even_before_their_first_letter() -> None:
    for arguments in ("", '{"x":1}', '{"x":'):
        item = call(arguments=arguments, status="incomplete")
        events = decode(stream(item, status="incomplete", **INCOMPLETE))
        assert outcome(events) == ("max_tokens", None)
        assert [e.arguments for e in events if isinstance(e, ToolCall)] == [None]


def test_u11_a_call_without_arguments_has_an_empty_object() -> None:
    events = decode(stream(call(arguments="")))
    assert [e.arguments for e in events if isinstance(e, ToolCall)] == [{}]


def test_items_of_which_nothing_was_streamed_are_told_when_they_are_done_or_at_the_end() -> None:
    whole = response(reasoning(), message("hi"), call())
    only_end = event("response.completed", response=whole)
    done = b"".join(event("response.output_item.done", item=item) for item in whole["output"]) + only_end
    assert joined(decode(only_end))[1:] == joined(decode(done))[1:] == joined(decode(body(*whole["output"])))[1:]


def test_summaries_are_parted_by_a_blank_line() -> None:
    assert [e.text for e in joined(decode(stream(*MADE["two_summaries"]))) if isinstance(e, Thinking)] == ["a\n\nb"]


def test_pictures_come_as_bytes() -> None:
    assert Image(ImageBlock("image/png", b"\x89PNG")) in decode(stream(*MADE["drawn"]))


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"<html>", b"[]", b'{"status":"completed"}', b"data: x\n\n"])
def test_u7_a_200_without_an_answer_is_never_ok(data: bytes) -> None:
    assert outcome(decode(data))[1] in ("invalid_response", "parse_error", "stream_incomplete")


def test_unknown_events_and_keep_alives_are_passed_over() -> None:
    noise = b": ping\n\nevent: keepalive\ndata: now\n\n" + event("response.rate_limits.updated", x=1)
    data = stream(message("hi")).replace(
        b"event: response.output_item.done", noise + b"event: response.output_item.done"
    )
    assert decode(data) == decode(stream(message("hi")))


def test_what_is_over_the_cap_is_too_large() -> None:
    piece = event("response.function_call_arguments.delta", delta="x" * 1000)
    assert outcome(decode(piece * 20, max_bytes=10_000))[1] == "too_large"


KEYS = ["type", "item", "item_id", "output_index", "delta", "response", "output", "status", "content", "summary"]
KEYS += ["id", "name", "call_id", "arguments", "text", "error", "usage", "encrypted_content", "phase", "result"]
KINDS = [
    "response.output_text.delta",
    "response.output_item.done",
    "response.completed",
    "function_call",
    "message",
]
KINDS += ["reasoning", "response.output_item.added", "completed", "error", "response.refusal.delta", "output_text"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(KINDS) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=14,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        VALUES.map(lambda v: b"data: " + json.dumps(v).encode() + b"\n\n") | st.binary(max_size=8), max_size=6
    ),
    st.sampled_from([200, 200, 204, 400, 500]),
    st.booleans(),
)
def test_random_bytes_never_raise_and_end_exactly_once(pieces: list[bytes], status: int, dropped: bool) -> None:
    decoded_in_any_pieces(decode, pieces, status=status, dropped=dropped)


# ---- encode

FULL = Conversation(
    system="Be brief.",
    messages=[
        Message("user", [TextBlock("look"), ImageBlock("image/png", b"\x89PNG")]),
        Message(
            "assistant",
            [
                ThinkingBlock("hm", {"wire": "openai-responses", "item": reasoning()}),
                TextBlock("Let me look.", {"wire": "openai-responses", "phase": "commentary"}),
                ToolUseBlock("c1", "f", {"x": 1}),
            ],
        ),
        Message("user", [ToolResultBlock("c1", "one", is_error=True), TextBlock("go")]),
        Message("assistant", "done"),
    ],
    tools=[Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "number"}}})],
)


def test_encode_writes_the_whole_conversation_as_the_wire_wants_it() -> None:
    options = Options(model="gpt-5.4", stream=True, max_tokens=900, thinking="high", tool_choice="f")
    request = encode(FULL, options)
    assert (request.method, request.path, request.dropped) == ("POST", "/v1/responses", [])
    assert json.loads(request.body) == {
        "model": "gpt-5.4",
        "store": False,
        "stream": True,
        "instructions": "Be brief.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw==", "detail": "auto"},
                ],
            },
            reasoning(),
            {"type": "message", "role": "assistant", "content": "Let me look.", "phase": "commentary"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "message", "role": "assistant", "content": "done"},
        ],
        "include": ["reasoning.encrypted_content"],
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "Does f.",
                "parameters": {"type": "object", "properties": {"x": {"type": "number"}}},
                "strict": False,
            }
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 900,
        "reasoning": {"effort": "high", "summary": "auto"},
    }


def test_options_without_a_place_are_named() -> None:
    options = Options(
        model="gpt-5.4", seed=1, stop=["x"], cache=Cache(), num_ctx=1, temperature=1, max_tokens=3, effort="high"
    )
    request = encode(Conversation([]), options)
    named = {each.option for each in request.dropped}
    assert named == {"seed", "stop", "cache", "num_ctx", "temperature", "max_tokens"}
    assert "was sent as 16" in " ".join(map(str, request.dropped))
    assert json.loads(request.body)["reasoning"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("model", "tools", "path"),
    [
        ("gpt-5.4", True, "/v1/responses"),
        ("gpt-5.4", False, "/v1/chat/completions"),
        ("gpt-6", True, "/v1/responses"),
        ("gpt-9-turbo", True, "/v1/responses"),
        ("gpt-5-pro", False, "/v1/responses"),
        ("gpt-5.2-codex", False, "/v1/responses"),
        ("o3-pro", False, "/v1/responses"),
        ("gpt-5.2", True, "/v1/chat/completions"),
        ("gpt-4o", True, "/v1/chat/completions"),
        ("gpt-5.4-chat-latest", True, "/v1/chat/completions"),
    ],
)
def test_w8_openai_answers_on_the_wire_that_the_model_needs(model: str, tools: bool, path: str) -> None:
    conversation = Conversation([Message("user", "hi")], tools=[Tool("f")] if tools else [])
    assert wire("openai", "openai").exchange(conversation, Options(model=model)).request.path == path
    assert (
        wire("openai", "groq").exchange(conversation, Options(model=model)).request.path == "/v1/chat/completions"
    )
    assert (
        wire("openai-responses", "own").exchange(conversation, Options(model=model)).request.path == "/v1/responses"
    )
