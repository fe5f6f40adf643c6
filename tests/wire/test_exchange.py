"""What stands around every wire: tool names, schemas as tools, what was not sent, extras, and the change of provider."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luahost.config import read_file
from luahost.errors import ConfigError
from luahost.wire import models, schemas, tool_names
from luahost.wire.events import End, Event, Text, ToolCall
from luahost.wire.messages import (
    Block,
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
from luahost.wire.wires import NAMES, wire

# Each wire as its own vendor speaks it, with a model of that vendor's.
SPOKEN = {
    "openai": ("openai", "openai", "gpt-4o"),
    "openai-responses": ("openai", "openai", "gpt-5.4"),  # with tools, that is what it takes
    "openrouter": ("openai", "openrouter", "anthropic/claude-sonnet-4.5"),
    "deepseek": ("openai", "deepseek", "deepseek-chat"),
    "mistral": ("openai", "mistral", "mistral-large-latest"),
    "google-compatible": ("openai", "own", "gemini-3-flash"),
    "anthropic": ("anthropic", "anthropic", "claude-sonnet-4-5"),
    "gemini": ("gemini", "gemini", "gemini-3-pro"),
    "ollama": ("ollama", "ollama", "llama3.2"),
}
TOOL = Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "integer"}}})


def body(request: Any) -> Any:
    return json.loads(request.body)


def exchange(spoken: str, conversation: Conversation, **options: Any) -> Any:
    name, provider, model = SPOKEN[spoken]
    return wire(name, provider).exchange(conversation, Options(**({"model": model} | options)))


def decoded(made: Any, data: bytes, content_type: str = "application/json") -> list[Event]:
    decoder = made.decoder(status=200, headers={"content-type": content_type}, now_s=0.0)
    events = decoder.feed(data) + decoder.close()
    assert decoder.ended
    return events


def answer_with(wire_name: str, name: str, arguments: Any, text: str = "") -> bytes:
    """A whole body in which the model calls one tool."""
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    if wire_name == "openai":
        call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": raw}}
        message = {"role": "assistant", "content": text or None, "tool_calls": [call]}
        return json.dumps({"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    if wire_name == "openai-responses":
        item = {"type": "function_call", "id": "i", "call_id": "c1", "name": name, "arguments": raw}
        return json.dumps({"status": "completed", "model": "m", "output": [item]}).encode()
    if wire_name == "anthropic":
        blocks = [{"type": "tool_use", "id": "c1", "name": name, "input": arguments}]
        blocks = [{"type": "text", "text": text}] * bool(text) + blocks
        return json.dumps({"type": "message", "content": blocks, "stop_reason": "tool_use"}).encode()
    if wire_name == "gemini":
        parts = [{"functionCall": {"name": name, "args": arguments}}]
        return json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}).encode()
    call = {"function": {"name": name, "arguments": arguments}}
    return json.dumps({"model": "m", "message": {"content": "", "tool_calls": [call]}, "done": True}).encode()


# ---- tool names (C5)

ODD = ["orcs.read file", "größe", "a/b", "x" * 80, "1st", "", "read:file", "a.b", "a_b", "日本"]


def tools_in(sent: Any) -> list[str]:
    """The names on offer in a body of any wire."""
    if "tools" not in sent:
        return []
    found = []
    for tool in sent["tools"]:
        declared = tool.get("functionDeclarations") or [tool.get("function", tool)]
        found += [each["name"] for each in declared]
    return found


@pytest.mark.parametrize("spoken", SPOKEN)
def test_c5_any_tool_name_goes_out_in_the_wires_letters_and_comes_back_as_it_was(spoken: str) -> None:
    tools = [Tool(name) for name in ODD]
    made = exchange(spoken, Conversation([Message("user", "hi")], tools=tools))
    sent = tools_in(body(made.request))
    assert len(set(sent)) == len(ODD)
    taken = tool_names.GEMINI if spoken == "gemini" else tool_names.OPENAI
    assert all(taken.fullmatch(name) for name in sent)
    named = SPOKEN[spoken][0] if spoken != "openai-responses" else spoken
    by_position = dict(zip(ODD, sent, strict=True)) if spoken != "anthropic" else None
    for name in ODD if by_position else []:
        calls = [e for e in decoded(made, answer_with(named, by_position[name], {})) if isinstance(e, ToolCall)]
        assert [call.name for call in calls] == [name]


@pytest.mark.parametrize("spoken", SPOKEN)
def test_c5_the_history_and_the_choice_have_the_same_names_as_the_tools(spoken: str) -> None:
    history = [
        Message("user", "hi"),
        Message("assistant", [ToolUseBlock("c1", "a b", {})]),
        Message("user", [ToolResultBlock("c1", "one")]),
    ]
    made = exchange(spoken, Conversation(history, tools=[Tool("a b")]), tool_choice="a b")
    sent = made.request.body.decode()
    written = tools_in(body(made.request))[0]
    assert '"a b"' not in sent
    assert sent.count(f'"{written}"') >= (3 if spoken != "ollama" else 2)


@given(st.sets(st.text(max_size=70), max_size=8))
def test_c5_the_mapping_is_reversible_and_does_not_depend_on_the_other_names(names: set[str]) -> None:
    mapped = tool_names.Names(tool_names.OPENAI, names)
    assert len(mapped.back) == sum(not tool_names.OPENAI.fullmatch(name) for name in names)
    assert set(mapped.back.values()) <= names
    assert not set(mapped.back) & names
    for name in names:
        alone = tool_names.Names(tool_names.OPENAI, [name]).back
        assert alone.items() <= mapped.back.items()


def test_c5_a_tool_that_is_called_as_another_would_be_written_does_not_become_it() -> None:
    (written,) = tool_names.Names(tool_names.OPENAI, ["a b"]).back
    mapped = tool_names.Names(tool_names.OPENAI, ["a b", written])
    assert len(mapped.back) == 1 and written not in mapped.back


# ---- schemas (structured output)

OBJECT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
NATIVE = {
    "openai": lambda sent: sent["response_format"]["json_schema"]["schema"],
    "openai-responses": lambda sent: sent["text"]["format"]["schema"],
    "openrouter": lambda sent: sent["response_format"]["json_schema"]["schema"],
    "mistral": lambda sent: sent["response_format"]["json_schema"]["schema"],
    "google-compatible": lambda sent: sent["response_format"]["json_schema"]["schema"],
    "anthropic": lambda sent: sent["output_config"]["format"]["schema"],
    "gemini": lambda sent: sent["generationConfig"]["responseJsonSchema"],
    "ollama": lambda sent: sent["format"],
}
BY_TOOL = {
    "an old Claude": ("anthropic", "anthropic", "claude-sonnet-4-20250514"),
    "a local server on the Anthropic wire": ("anthropic", "own", "tiny"),
    "DeepSeek": ("openai", "deepseek", "deepseek-chat"),
    "Groq": ("openai", "groq", "llama-3.3-70b-versatile"),
    "gpt-4": ("openai", "openai", "gpt-4"),
    "Gemini 1.5": ("gemini", "gemini", "gemini-1.5-pro"),
}


@pytest.mark.parametrize("spoken", NATIVE)
def test_a_schema_goes_as_one_where_the_wire_has_a_word_for_it(spoken: str) -> None:
    tools = [TOOL] if spoken == "openai-responses" else []
    made = exchange(spoken, Conversation([Message("user", "hi")], tools=tools), response_schema=OBJECT)
    sent = NATIVE[spoken](body(made.request))
    assert sent["properties"] == OBJECT["properties"]
    assert sent["required"] == ["x"]
    assert made.request.dropped == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "provider", "model"), BY_TOOL.values(), ids=BY_TOOL)
def test_elsewhere_it_is_a_forced_tool_and_nobody_sees_it(
    name: str, provider: str, model: str, stream: bool
) -> None:
    options = Options(model=model, response_schema=OBJECT, stream=stream)
    made = wire(name, provider).exchange(Conversation([Message("user", "hi")]), options)
    sent = body(made.request)
    assert tools_in(sent) == ["respond"]
    assert "respond" in json.dumps(sent.get("tool_choice", sent.get("toolConfig")))
    assert made.request.dropped == []
    events = decoded(made, answer_with(name, "respond", {"x": 1}))
    assert [json.loads(e.text) for e in events if isinstance(e, Text)] == [{"x": 1}]
    assert not any(isinstance(e, ToolCall) for e in events)
    assert events[-1] == End("end_turn", events[-1].raw_reason)


def test_beside_tools_the_model_must_call_one_and_those_of_the_script_go_through() -> None:
    conversation = Conversation([Message("user", "hi")], tools=[TOOL, Tool("respond")])
    made = exchange("deepseek", conversation, response_schema=OBJECT)
    assert tools_in(body(made.request)) == ["f", "respond", "respond_2"]
    assert body(made.request)["tool_choice"] == "required"
    events = decoded(made, answer_with("openai", "f", {"x": 2}))
    assert [e.name for e in events if isinstance(e, ToolCall)] == ["f"]
    assert events[-1].stop_reason == "tool_use"
    text = decoded(made, answer_with("openai", "respond_2", {"x": 2}, text="I will now answer."))
    assert [e.text for e in text if isinstance(e, Text)] == ['{"x": 2}']


def test_gemini_2_5_takes_a_schema_or_tools_and_gemini_3_both() -> None:
    conversation = Conversation([Message("user", "hi")], tools=[TOOL])
    both = exchange("gemini", conversation, response_schema=OBJECT)
    assert tools_in(body(both.request)) == ["f"]
    older = exchange("gemini", conversation, response_schema=OBJECT, model="gemini-2.5-flash")
    assert tools_in(body(older.request)) == ["f", "respond"]
    assert body(older.request)["toolConfig"]["functionCallingConfig"] == {"mode": "ANY"}


@pytest.mark.parametrize("schema", [{"type": "array", "items": {"type": "integer"}}, {"enum": ["a", "b"]}])
def test_an_answer_that_is_no_object_travels_inside_one(schema: dict[str, Any]) -> None:
    for spoken in ("openai", "anthropic", "deepseek"):
        made = exchange(spoken, Conversation([Message("user", "hi")]), response_schema=schema)
        assert tools_in(body(made.request)) == ["respond"]
        name = "anthropic" if spoken == "anthropic" else "openai"
        events = decoded(made, answer_with(name, "respond", {"answer": [1, 2]}))
        assert [json.loads(e.text) for e in events if isinstance(e, Text)] == [[1, 2]]


def test_bad_arguments_of_the_answer_are_its_text_and_no_malformed_call() -> None:
    made = exchange("deepseek", Conversation([Message("user", "hi")]), response_schema=OBJECT)
    events = decoded(made, answer_with("openai", "respond", '{"x":'))
    assert [e.text for e in events if isinstance(e, Text)] == ['{"x":']
    assert (events[-1].stop_reason, events[-1].failure) == ("end_turn", None)


def test_a_model_that_answers_in_text_after_all_is_heard() -> None:
    made = exchange("deepseek", Conversation([Message("user", "hi")]), response_schema=OBJECT)
    said = {"choices": [{"message": {"content": '{"x": 3}'}, "finish_reason": "stop"}]}
    events = decoded(made, json.dumps(said).encode())
    assert [e.text for e in events if isinstance(e, Text)] == ['{"x": 3}']


def test_a_stream_with_the_answer_as_a_call_cut_at_every_byte_is_a_prefix_and_incomplete() -> None:
    made = exchange("deepseek", Conversation([Message("user", "hi")]), response_schema=OBJECT, stream=True)

    def frame(delta: Any, finish: Any = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({"id": "i", "model": "m", "choices": [choice]}).encode() + b"\n\n"

    call = {"index": 0, "id": "c", "function": {"name": "respond", "arguments": '{"x"'}}
    more = {"index": 0, "function": {"arguments": ":1}"}}
    stream = frame({"content": "Well: "}) + frame({"tool_calls": [call]}) + frame({"tool_calls": [more]})
    stream += frame({}, "tool_calls") + b"data: [DONE]\n\n"
    whole = decoded(made, stream, "text/event-stream")
    assert [e.text for e in whole if isinstance(e, Text)] == ['{"x":1}']
    for cut in range(len(stream)):
        got = decoded(made, stream[:cut], "text/event-stream")
        assert got == whole or got[-1].stop_reason == "stream_incomplete"
        assert got[:-1] == whole[: len(got) - 1]


STRICT = {
    "closed and all required": ({**OBJECT, "additionalProperties": False}, True),
    "open": (OBJECT, False),
    "a member that may be absent": ({**OBJECT, "required": [], "additionalProperties": False}, False),
    "a map": ({"type": "object", "additionalProperties": {"type": "string"}}, False),
    "no object": ({"type": "array", "items": OBJECT}, False),
    "an open one within": (
        {"type": "object", "properties": {"a": OBJECT}, "required": ["a"], "additionalProperties": False},
        False,
    ),
}


@pytest.mark.parametrize(("schema", "strict"), STRICT.values(), ids=STRICT)
def test_w6_strict_is_said_only_where_the_schema_fits_the_strict_rules(
    schema: dict[str, Any], strict: bool
) -> None:
    assert schemas.is_strict(schema) == strict


def test_w6_the_schemas_name_is_its_title_in_at_most_64_letters() -> None:
    for title, name in (("My Schema! é", "My_Schema"), ("x" * 99, "x" * 64), (None, "answer"), ("é", "answer")):
        schema = OBJECT | ({"title": title} if title else {})
        sent = body(exchange("openai", Conversation([Message("user", "hi")]), response_schema=schema).request)
        assert sent["response_format"]["json_schema"]["name"] == name


def test_closing_a_schema_keeps_its_shape_and_leaves_out_limits() -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string", "minLength": 1}, "in": {"anyOf": [OBJECT, {"type": "null"}]}},
        "$defs": {"d": OBJECT},
    }
    assert schemas.closed(schema) == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "in": {"anyOf": [OBJECT | {"additionalProperties": False}, {"type": "null"}]},
        },
        "$defs": {"d": OBJECT | {"additionalProperties": False}},
        "additionalProperties": False,
    }


CIRCLE = {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}}
OPEN = {
    "itself": {"type": "object", "properties": {"c": {"$ref": "#"}}},
    "a circle": CIRCLE | {"$defs": {"n": {"type": "object", "properties": {"m": {"$ref": "#/$defs/n"}}}}},
    "a map": {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": True}}},
    "elsewhere": {"type": "object", "properties": {"c": {"$ref": "https://x/y"}}},
}


@pytest.mark.parametrize("schema", OPEN.values(), ids=OPEN)
def test_a_schema_that_cannot_be_closed_is_a_tools(schema: dict[str, Any]) -> None:
    assert not schemas.closes(schema)
    made = exchange("anthropic", Conversation([Message("user", "hi")]), response_schema=schema)
    assert tools_in(body(made.request)) == ["respond"]


def test_a_schema_with_references_that_end_closes() -> None:
    assert schemas.closes(CIRCLE | {"$defs": {"n": OBJECT}})


# ---- never silently (C3)

SET: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 4000,
    "seed": 7,
    "stop": ["x"],
    "tool_choice": "f",
    "parallel_tool_calls": False,
    "thinking": "high",
    "effort": "low",
    "response_schema": OBJECT,
    "cache": Cache(system=True),
    "num_ctx": 4096,
    "keep_alive": "5m",
    "provider_order": ["a", "b"],
    "extra_body": {"marked": 1},
    "extra_headers": {"X-Marked": "1"},
}
PLAIN = Conversation([Message("user", "hi")], system="s", tools=[TOOL])


@pytest.mark.parametrize("option", SET)
@pytest.mark.parametrize("spoken", [*SPOKEN, *BY_TOOL])
def test_c3_every_option_changes_what_is_sent_or_is_named(spoken: str, option: str) -> None:
    name, provider, model = SPOKEN.get(spoken) or BY_TOOL[spoken]
    spoken_wire = wire(name, provider)
    without = spoken_wire.exchange(PLAIN, Options(model=model)).request
    assert without.dropped == []
    with_it = spoken_wire.exchange(PLAIN, Options(model=model, **{option: SET[option]})).request
    named = [each.option for each in with_it.dropped]
    assert (without.body, without.headers) != (with_it.body, with_it.headers) or named == [option]
    assert named in ([], [option])


@pytest.mark.parametrize("spoken", SPOKEN)
def test_c3_choices_without_tools_are_named(spoken: str) -> None:
    made = exchange(
        spoken, Conversation([Message("user", "hi")]), tool_choice="required", parallel_tool_calls=False
    )
    assert {each.option for each in made.request.dropped} == {"tool_choice", "parallel_tool_calls"}


def test_what_is_dropped_is_said_in_words() -> None:
    made = exchange("openai", PLAIN, effort="high", thinking="low", num_ctx=1)
    assert list(map(str, made.request.dropped)) == [
        "thinking gives way to effort on this wire; it was not sent",
        "effort is not taken by this model; it was not sent",
        'num_ctx is said on Ollama\'s own wire only (wire = "ollama"); it was not sent',
    ]


# ---- extras


@pytest.mark.parametrize("spoken", SPOKEN)
def test_extra_body_is_laid_over_member_by_member(spoken: str) -> None:
    extra = {"metadata": {"a": 1}, "generationConfig": {"topK": 3}, "options": {"mirostat": 1}}
    sent = body(exchange(spoken, PLAIN, temperature=1, extra_body=extra).request)
    assert sent["metadata"] == {"a": 1}
    if spoken == "gemini":
        assert sent["generationConfig"] == {"temperature": 1, "topK": 3}
    if spoken == "ollama":
        assert sent["options"] == {"temperature": 1, "mirostat": 1}


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "x-api-key", "X-Goog-Api-Key", "api-key", "Host", "content-length", "Transfer-Encoding"),
        *("Content-Type", "accept", "Cookie", "Proxy-Authorization", "Connection", "bad name", "a\r\nb", ""),
    ],
)
@pytest.mark.parametrize("spoken", ["openai", "anthropic", "gemini", "ollama"])
def test_extra_headers_never_replace_the_wires_own_nor_carry_a_key(spoken: str, name: str) -> None:
    made = exchange(spoken, PLAIN, extra_headers={name: "v", "X-Title": "t"})
    plain = exchange(spoken, PLAIN).request.headers
    assert made.request.headers == plain | {"X-Title": "t"}
    assert [each.option for each in made.request.dropped] == ["extra_headers"]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", "é"])
def test_a_headers_value_is_one_line(value: str) -> None:
    made = exchange("openai", PLAIN, extra_headers={"X-A": value})
    assert "X-A" not in made.request.headers and made.request.dropped


def test_anthropics_betas_are_added_to_the_wires_own() -> None:
    sent = exchange("anthropic", PLAIN, extra_headers={"anthropic-beta": "context-1m-2025-08-07"}).request
    assert sent.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert sent.dropped == []


# ---- another provider in mid-session (C7)

SECRET = "do-not-send"
STATES: dict[str, list[Block]] = {
    "openrouter": [
        ThinkingBlock(
            "hm", {"wire": "openai", "reasoning_details": [{"type": "reasoning.encrypted", "data": SECRET}]}
        )
    ],
    "google-compatible": [
        ToolUseBlock("c9", "f", {}, {"wire": "openai", "extra_content": {"google": {"thought_signature": SECRET}}})
    ],
    "deepseek": [ThinkingBlock(SECRET, {"wire": "openai", "reasoning_content": True}), ToolUseBlock("c9", "f", {})],
    "openai-responses": [
        ThinkingBlock(
            "hm",
            {"wire": "openai-responses", "item": {"type": "reasoning", "id": "r", "encrypted_content": SECRET}},
        ),
        TextBlock("said", {"wire": "openai-responses", "phase": SECRET}),
    ],
    "anthropic": [
        ThinkingBlock("hm", {"wire": "anthropic", "signature": SECRET}),
        ThinkingBlock("", {"wire": "anthropic", "redacted": SECRET}),
    ],
    "gemini": [
        ThinkingBlock("hm", {"wire": "gemini", "thoughtSignature": SECRET}),
        TextBlock("said", {"wire": "gemini", "thoughtSignature": SECRET}),
        ImageBlock("image/png", b"1", state={"wire": "gemini", "thoughtSignature": SECRET}),
        ToolUseBlock("c9", "f", {}, {"wire": "gemini", "thoughtSignature": SECRET, "id": SECRET}),
    ],
    "ollama": [ThinkingBlock(SECRET, {"wire": "ollama"}), ToolUseBlock("c9", "f", {})],
}


@pytest.mark.parametrize("to", SPOKEN)
@pytest.mark.parametrize("written_by", STATES)
def test_c7_state_goes_back_to_who_wrote_it_and_to_nobody_else(written_by: str, to: str) -> None:
    blocks = [TextBlock("before"), *STATES[written_by]]
    results = [ToolResultBlock(b.id, "done") for b in blocks if isinstance(b, ToolUseBlock)]
    history = [Message("user", "hi"), Message("assistant", blocks), Message("user", [*results, TextBlock("go on")])]
    sent = exchange(to, Conversation(history, tools=[TOOL])).request.body.decode()
    assert (SECRET in sent) == (written_by == to)
    assert (
        "before" in sent
        and "go on" in sent
        and ("said" in sent) == any(isinstance(b, TextBlock) and b.text == "said" for b in blocks)
    )


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEPT = ["signature", "redacted", "thoughtSignature", "id", "item", "phase", "reasoning_details"]
KEPT += ["reasoning_content", "extra_content"]
FORGED = st.dictionaries(st.sampled_from(KEPT), ANY, max_size=4)


@given(forged=FORGED, written_by=st.sampled_from(NAMES), to=st.sampled_from(list(SPOKEN)))
def test_a_forged_state_out_of_a_loaded_dump_breaks_no_wire(forged: Any, written_by: str, to: str) -> None:
    state = {**forged, "wire": written_by}
    blocks: list[Block] = [
        ThinkingBlock("hm", state),
        TextBlock("t", state),
        ImageBlock("image/png", b"1", state=state),
        ToolUseBlock("c1", "f", {}, state),
    ]
    history = [Message("user", "hi"), Message("assistant", blocks), Message("user", [ToolResultBlock("c1", "one")])]
    assert isinstance(body(exchange(to, Conversation(history, tools=[TOOL])).request), dict)


@pytest.mark.parametrize("to", SPOKEN)
def test_c7_ids_of_any_provider_are_written_as_the_next_one_takes_them(to: str) -> None:
    taken = {
        "openai": r".{1,40}",
        "openai-responses": r".{1,64}",
        "mistral": r"[A-Za-z0-9]{9}",
        "anthropic": r"[A-Za-z0-9_-]+",
    }.get(to, r".+")
    ids = ["call_1", "toolu_01A", "functions.f:0", "x" * 90, "aB3dE6gH9", "é", "a b"]
    uses = [ToolUseBlock(id, "f", {}) for id in ids]
    results: list[Block] = [ToolResultBlock(id, f"of {n}") for n, id in enumerate(ids)]
    history = [Message("user", "hi"), Message("assistant", list(uses)), Message("user", results)]
    sent = body(exchange(to, Conversation(history, tools=[TOOL])).request)
    found: dict[str, list[str]] = {"call": [], "result": []}

    def walk(value: Any) -> None:
        if isinstance(value, list):
            list(map(walk, value))
        elif isinstance(value, dict):
            if value.get("type") in ("tool_use", "function_call") or ("function" in value and "id" in value):
                found["call"].append(value["call_id"] if value.get("type") == "function_call" else value["id"])
            for name in ("tool_call_id", "tool_use_id"):
                if name in value:
                    found["result"].append(value[name])
            if value.get("type") == "function_call_output":
                found["result"].append(value["call_id"])
            list(map(walk, value.values()))

    walk(sent)
    if to != "gemini":  # which has none of its own
        assert found["call"] == found["result"]
        assert len(set(found["call"])) == len(ids)
        assert all(re.fullmatch(taken, id) for id in found["call"]), found


def test_c7_a_kept_turn_comes_back_from_a_dump_as_it_was() -> None:
    import msgspec

    for written_by, blocks in STATES.items():
        history = [Message("user", "hi"), Message("assistant", list(blocks)), Message("user", "go")]
        again = msgspec.json.decode(msgspec.json.encode(history), type=list[Message])
        assert exchange(written_by, Conversation(again, tools=[TOOL])).request.body == (
            exchange(written_by, Conversation(history, tools=[TOOL])).request.body
        )


# ---- model facts as data (C4)


def test_every_wire_has_a_name_and_every_table_only_rows_that_can_be() -> None:
    assert set(NAMES) == {"openai", "openai-responses", "anthropic", "gemini", "ollama"}
    assert set(models.shipped()) == set(models.KINDS)
    tables = models.Models()
    for name in models.KINDS:
        getattr(tables, name).facts("anything")


@pytest.mark.parametrize(
    ("table", "model", "same_as"),
    [
        ("openai", "gpt-7-mini", "gpt-6"),
        ("openai", "gpt-5.9", "gpt-5.4"),
        ("openai", "o5", "o3"),
        ("gemini", "gemini-9-flash", "gemini-3-flash"),
        ("anthropic", "claude-next-1", "claude-opus-5-5"),
        ("compatible", "somebodys-own", "another-ones"),
    ],
)
def test_c4_a_model_newer_than_the_table_is_taken_for_the_newest_family(
    table: str, model: str, same_as: str
) -> None:
    facts = getattr(models.SHIPPED, table).facts
    assert facts(model) == facts(same_as)


def test_c4_a_configuration_lays_rows_over_the_table(tmp_path: Any) -> None:
    file = tmp_path / "luahost.toml"
    file.write_text(
        '[[models.openai]]\npattern = "gpt-5.4"\nresponses = "never"\nefforts = ["low"]\n'
        '[[models.compatible]]\npattern = "house-.*"\nmax_tokens_field = "max_completion_tokens"\n'
    )
    providers = read_file(file).providers
    request = (
        providers["openai"].spoken.exchange(PLAIN, Options(model="gpt-5.4", effort="high", max_tokens=9)).request
    )
    assert request.path == "/v1/chat/completions"
    assert (body(request)["reasoning_effort"], body(request)["max_completion_tokens"]) == ("low", 9)
    house = providers["vllm"].spoken.exchange(PLAIN, Options(model="house-1", max_tokens=9)).request
    assert body(house)["max_completion_tokens"] == 9
    assert exchange("openai-responses", PLAIN).request.path == "/v1/responses"  # the shipped table is as it was


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[models.opneai]]\npattern = "x"', "did you mean 'openai'"),
        ('[[models.openai]]\nefforts = ["low"]', "a pattern expected"),
        ('[[models.openai]]\npattern = "("', "row '('"),
        ('[[models.openai]]\npattern = "x"\nefort = []', "efort"),
        ('[[models.gemini]]\npattern = "x"\nthinking = "much"', "much"),
        ('[models]\nopenai = "x"', "[[models.openai]]"),
    ],
)
def test_c4_a_row_that_cannot_be_is_one_line_that_names_it(text: str, says: str, tmp_path: Any) -> None:
    file = tmp_path / "luahost.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_file(file)
    assert says in str(caught.value) and "\n" not in str(caught.value)
