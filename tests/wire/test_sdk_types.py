"""What we send is what the vendors' own SDKs would let a caller send: their request types judge a generated variety.

Installed by `make test-sdk`, skipped without. Their types are TypedDicts (OpenAI, Anthropic) and pydantic models that
forbid what they do not know (Gemini). A TypedDict lets unknown members pass by leaving them out, so what comes out of
the validation must be what went in; its lists are lazy, and are walked.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from luahost.wire.wires import wire

WHY = "the SDKs are not installed: make test-sdk"
pytest.importorskip("pydantic", reason=WHY)
openai = pytest.importorskip("openai", reason=WHY)
anthropic = pytest.importorskip("anthropic", reason=WHY)
genai = pytest.importorskip("google.genai", reason=WHY)
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]

EXAMPLES = int(os.environ.get("LUAHOST_SDK_EXAMPLES", "10"))


# ---- the judges


def forced(value: Any) -> Any:
    """With every lazy list read; an error in one is raised here."""
    if isinstance(value, dict):
        return {name: forced(inner) for name, inner in value.items()}
    if isinstance(value, str | bytes | int | float) or value is None:
        return value
    return [forced(inner) for inner in value]


def judge(*kinds: Any) -> Any:
    from pydantic import TypeAdapter

    adapters = [TypeAdapter(kind) for kind in kinds]

    def check(sent: dict[str, Any]) -> None:
        adapter = adapters[1] if sent.get("stream") else adapters[0]
        out = forced(adapter.validate_python(sent, strict=True))
        assert out == sent, differences(sent, out)

    return check


def differences(sent: Any, out: Any, where: str = "") -> list[str]:
    """Where the type lost or changed what was sent."""
    if isinstance(sent, dict) and isinstance(out, dict):
        return [
            line for name in sent for line in differences(sent[name], out.get(name, "<unknown>"), f"{where}.{name}")
        ]
    if isinstance(sent, list) and isinstance(out, list) and len(sent) == len(out):
        return [
            line
            for n, pair in enumerate(zip(sent, out, strict=True))
            for line in differences(*pair, f"{where}[{n}]")
        ]
    return [] if sent == out else [f"{where}: {sent!r} became {out!r}"]


def chat_judge() -> Any:
    from openai.types.chat import completion_create_params as params

    return judge(params.CompletionCreateParamsNonStreaming, params.CompletionCreateParamsStreaming)


def responses_judge() -> Any:
    from openai.types.responses import response_create_params as params

    return judge(params.ResponseCreateParamsNonStreaming, params.ResponseCreateParamsStreaming)


def anthropic_judge() -> Any:
    from anthropic.types import message_create_params as params

    whole = judge(params.MessageCreateParamsNonStreaming, params.MessageCreateParamsStreaming)

    def check(sent: dict[str, Any]) -> None:
        # Of version 2023-06-01, which we speak, for the models that take them; the SDK's is a later one without.
        whole({name: value for name, value in sent.items() if name not in ("temperature", "top_p")})

    return check


def gemini_judge() -> Any:
    from google.genai import types

    members = {
        "systemInstruction": types.Content,
        "contents": types.Content,
        "tools": types.Tool,
        "toolConfig": types.ToolConfig,
        "generationConfig": types.GenerationConfig,
    }

    def check(sent: dict[str, Any]) -> None:
        assert sent.keys() <= members.keys()
        for name, value in sent.items():
            for each in value if isinstance(value, list) else [value]:
                members[name].model_validate(each)

    return check


JUDGES: dict[str, tuple[str, str, Any, list[str]]] = {
    "openai": ("openai", "openai", chat_judge, ["gpt-4o", "gpt-4", "o3", "gpt-5", "gpt-5.2"]),
    "openai-responses": (
        "openai-responses",
        "openai",
        responses_judge,
        ["gpt-5.4", "gpt-6", "gpt-4o", "gpt-5-pro"],
    ),
    "anthropic": (
        "anthropic",
        "anthropic",
        anthropic_judge,
        ["claude-3-5-haiku", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5-5", "tiny"],
    ),
    "gemini": (
        "gemini",
        "gemini",
        gemini_judge,
        [
            "gemini-2.5-pro",
            "gemini-2.5-flash",
            "gemini-3-pro",
            "gemini-3.8-flash",
            "gemini-2.5-flash-image",
            "gemini-1.5-pro",
        ],
    ),
}
_made: dict[str, Any] = {}


def check(name: str, conversation: Conversation, options: Options) -> dict[str, Any]:
    spoken, provider, make, _ = JUDGES[name]
    judged = _made.get(name) or _made.setdefault(name, make())
    request = wire(spoken, provider).exchange(conversation, options).request
    sent: dict[str, Any] = json.loads(request.body)
    judged(sent)
    return sent


# ---- what is asked

TEXTS = st.sampled_from(["", " ", "hi", "Grüße 👋", 'a "b"\n', "x" * 300])
NAMES = st.sampled_from(["f", "get_weather", "orcs.read file", "größe", "x" * 70])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}, "required": ["x"]},
        {
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"type": "string"}}},
            "additionalProperties": False,
            "required": ["a"],
        },
        {"type": "object", "title": "A map", "additionalProperties": {"type": "number"}},
        {"type": "array", "items": {"enum": ["a", "b"]}},
    ]
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON_VALUES, max_size=3)
TOOLS = st.lists(
    st.builds(
        Tool, NAMES, TEXTS, st.sampled_from([{}, {"type": "object", "properties": {"x": {"type": "string"}}}])
    ),
    max_size=3,
    unique_by=lambda tool: tool.name,
)
IMAGES = st.sampled_from([ImageBlock("image/png", b"\x89PNG"), ImageBlock("image/jpeg", url="https://x/y.jpg")])
STATES = st.sampled_from(
    [
        None,
        {"wire": "anthropic", "signature": "sig"},
        {"wire": "anthropic", "redacted": "data"},
        {"wire": "gemini", "thoughtSignature": "c2ln"},
        {
            "wire": "openai",
            "reasoning_details": [{"type": "reasoning.text", "text": "x"}],
            "reasoning_content": True,
        },
        {"wire": "openai-responses", "phase": "commentary"},
    ]
)
ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "x",
}


@st.composite
def turns(draw: Any) -> list[Message]:
    """A whole conversation: a user's turn, and what the model and its tools made of it, again and again."""
    made = [Message("user", draw(st.lists(TEXTS.map(TextBlock) | IMAGES, min_size=1, max_size=3)))]
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        blocks: list[Block] = []
        if draw(st.booleans()):
            blocks.append(ThinkingBlock(draw(TEXTS), draw(STATES)))
        if draw(st.booleans()):
            blocks.append(ThinkingBlock("", {"wire": "openai-responses", "item": ITEM}))
        blocks += draw(st.lists(st.builds(TextBlock, TEXTS, STATES), max_size=2))
        ids = []
        for _ in range(draw(st.integers(0, 2))):
            number += 1
            ids.append(draw(st.sampled_from(["call_", "functions.f:", "é" * 50])) + str(number))
            blocks.append(ToolUseBlock(ids[-1], draw(NAMES), draw(OBJECTS), draw(STATES)))
        made.append(Message("assistant", blocks))
        results: list[Block] = [ToolResultBlock(id, draw(TEXTS), draw(st.booleans())) for id in ids]
        made.append(Message("user", [*results, *draw(st.lists(TEXTS.map(TextBlock) | IMAGES, max_size=2))]))
    return made


def maybe(values: Any) -> Any:
    return st.none() | values


CONVERSATIONS = st.builds(Conversation, turns(), maybe(TEXTS), TOOLS)
SAID: dict[str, Any] = {
    "stream": st.booleans(),
    "temperature": maybe(st.floats(0, 2)),
    "top_p": maybe(st.floats(0, 1)),
    "max_tokens": maybe(st.integers(1, 60_000)),
    "seed": maybe(st.integers(0, 1 << 31)),
    "stop": maybe(st.lists(st.sampled_from(["x", "\n"]), max_size=2)),
    "tool_choice": maybe(st.sampled_from(["auto", "none", "required"])),
    "parallel_tool_calls": maybe(st.booleans()),
    "thinking": maybe(st.sampled_from(["off", "minimal", "low", "medium", "high", "xhigh", 0, 500, 5000, 200_000])),
    "effort": maybe(st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    "response_schema": maybe(SCHEMAS),
    "cache": maybe(
        st.builds(Cache, st.booleans(), st.booleans(), st.integers(0, 5), st.sampled_from(["5m", "1h"]))
    ),
    "num_ctx": maybe(st.just(4096)),
    "keep_alive": maybe(st.just("5m")),
    "provider_order": maybe(st.just(["a"])),
}


@pytest.mark.parametrize("name", JUDGES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversation=CONVERSATIONS, said=st.fixed_dictionaries(SAID), data=st.data())
def test_any_conversation_with_any_options_is_a_request_of_the_vendors_own_types(
    name: str, conversation: Conversation, said: dict[str, Any], data: Any
) -> None:
    check(name, conversation, Options(model=data.draw(st.sampled_from(JUDGES[name][3])), **said))


WRONG: dict[str, Any] = {
    "unknown_member": 1,
    "messages": [{"role": "nobody", "content": 3}],
    "input": [{"type": "x"}],
}


@pytest.mark.parametrize("name", JUDGES)
def test_the_judge_refuses_what_is_no_request(name: str) -> None:
    """A control: types that let everything pass would prove nothing."""
    sent = check(name, Conversation([Message("user", "hi")], tools=[Tool("f")]), Options(model=JUDGES[name][3][0]))
    spoilt = [{**sent, "unknown_member": 1}]
    for member in ("messages", "input", "contents"):
        if member in sent:
            spoilt.append({**sent, member: [{**sent[member][0], "role": 7}]})
            spoilt.append({**sent, member: [{**sent[member][0], "unknown_member": 1}]})
    spoilt.append({**sent, "tools": [{"nonsense": {}}]})
    for body in spoilt:
        with pytest.raises(Exception):
            _made[name](body)
