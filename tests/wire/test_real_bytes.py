"""What real servers send beside what their documentation says: each sample as a whole, byte by byte, and cut everywhere.

Made by hand after what was seen of OpenAI, OpenRouter, Groq, DeepSeek, Mistral, xAI, Anthropic, Gemini and Ollama.
"""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from luahost.wire.events import End, Event, Image, Keep, Refusal, Start, Text, Thinking, ToolCall, Usage
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
from luahost.wire.models import Models
from luahost.wire.wires import wire

PNG = "iVBORw0KGgo="
PICTURE = ImageBlock("image/png", b"\x89PNG\r\n\x1a\n")


def stream(*frames: Any, done: bool = True, line: bytes = b"\n") -> bytes:
    written = [
        f if isinstance(f, bytes) else b"data: " + json.dumps(f, ensure_ascii=False).encode() for f in frames
    ]
    written += [b"data: [DONE]"] * done
    return b"".join(each.replace(b"\n", line) + line * 2 for each in written)


def chat(delta: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "gen-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def call(index: int, id: str | None, name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {
        "tool_calls": [
            {"index": index, "function": function, "type": "function"} | ({"id": id} if id else {}) | more
        ]
    }


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}

# name -> (wire, provider, bytes, the text, the stop reason, and what else is among the events)
Sample = tuple[str, str, bytes, str, str, list[Any]]
SAMPLES: dict[str, Sample] = {
    "OpenAI: obfuscation, a service tier, usage null until its own chunk without choices": (
        "openai",
        "openai",
        stream(
            chat({"role": "assistant", "content": "", "refusal": None}, usage=None, service_tier="default"),
            chat({"content": "Hi"}, usage=None, obfuscation="3xK"),
            chat({}, "stop", usage=None, obfuscation="a"),
            {"id": "gen-1", "choices": [], "usage": USAGE, "obfuscation": ""},
        ),
        "Hi",
        "end_turn",
        [Usage(5, 2, total=7)],
    ),
    "OpenAI: annotations of a web search beside the text": (
        "openai",
        "openai",
        stream(chat({"content": "Hi"}), chat({"annotations": [{"type": "url_citation"}]}), chat({}, "stop")),
        "Hi",
        "end_turn",
        [],
    ),
    "OpenAI: a refusal in pieces": (
        "openai",
        "openai",
        stream(
            chat({"role": "assistant", "refusal": ""}),
            chat({"refusal": "I ca"}),
            chat({"refusal": "n't."}),
            chat({}, "stop"),
        ),
        "",
        "refusal",
        [Refusal("I ca"), Refusal("n't.")],
    ),
    "OpenRouter: comments before and between, native_finish_reason, cost": (
        "openai",
        "openrouter",
        b": OPENROUTER PROCESSING\n\n" * 3
        + stream(
            chat({"role": "assistant", "content": "Hi"}, provider="Anthropic"),
            b": OPENROUTER PROCESSING",
            chat({"content": ""}, "stop", native_finish_reason="end_turn"),
            chat({"content": ""}, None, usage=USAGE | {"cost": 0.01, "is_byok": False, "cost_details": {}}),
        ),
        "Hi",
        "end_turn",
        [Usage(5, 2, total=7, cost_usd=0.01)],
    ),
    "OpenRouter: reasoning_details in pieces, the signature last": (
        "openai",
        "openrouter",
        stream(
            chat(
                {
                    "reasoning": "Let",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "Let", "format": "anthropic-claude-v1", "index": 0}
                    ],
                }
            ),
            chat(
                {
                    "reasoning": " me",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": " me", "format": "anthropic-claude-v1", "index": 0}
                    ],
                }
            ),
            chat(
                {
                    "reasoning_details": [
                        {"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}
                    ]
                }
            ),
            chat({"reasoning_details": [{"type": "reasoning.encrypted", "data": "xx", "id": "e", "index": 1}]}),
            chat({"content": "Hi"}),
            chat({}, "stop"),
        ),
        "Hi",
        "end_turn",
        [
            Keep(
                ThinkingBlock(
                    "Let me",
                    {
                        "wire": "openai",
                        "reasoning_details": [
                            {
                                "type": "reasoning.text",
                                "text": "Let me",
                                "format": "anthropic-claude-v1",
                                "index": 0,
                                "signature": "sig",
                            },
                            {"type": "reasoning.encrypted", "data": "xx", "id": "e", "index": 1},
                        ],
                    },
                )
            )
        ],
    ),
    "OpenRouter: pictures beside the text": (
        "openai",
        "openrouter",
        stream(
            chat({"content": "Here."}),
            chat(
                {
                    "content": "",
                    "images": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, "index": 0}
                    ],
                }
            ),
            chat({}, "stop"),
        ),
        "Here.",
        "end_turn",
        [Image(PICTURE)],
    ),
    "a picture as the whole content, and one by its address among parts": (
        "openai",
        "together",
        stream(
            chat({"content": f"data:image/png;base64,{PNG}"}),
            chat(
                {"content": [{"type": "image_url", "image_url": "https://x/y.png"}, {"type": "text", "text": "ok"}]}
            ),
            chat({}, "stop"),
        ),
        "ok",
        "end_turn",
        [Image(PICTURE), Image(ImageBlock("", url="https://x/y.png"))],
    ),
    "OpenRouter: an error in mid-stream beside a finish_reason": (
        "openai",
        "openrouter",
        stream(
            chat({"content": "Hi"}),
            chat({"content": ""}, "error", error={"code": 502, "message": "Provider disconnected"}),
        ),
        "Hi",
        "error",
        [],
    ),
    "Groq: usage in x_groq, an error in mid-stream with failed_generation": (
        "openai",
        "groq",
        stream(
            chat({"content": "Hi"}, x_groq={"id": "req_1"}),
            {
                "error": {
                    "message": "Failed to call a function.",
                    "type": "invalid_request_error",
                    "code": "tool_use_failed",
                    "failed_generation": "<function",
                }
            },
        ),
        "Hi",
        "error",
        [],
    ),
    "Groq: the usage of a finished stream": (
        "openai",
        "groq",
        stream(
            chat({"role": "assistant", "content": "Hi"}, x_groq={"id": "r"}),
            chat({}, "stop", x_groq={"id": "r", "usage": USAGE}),
        ),
        "Hi",
        "end_turn",
        [Usage(5, 2, total=7)],
    ),
    "DeepSeek: reasoning_content before a call is kept for its results": (
        "openai",
        "deepseek",
        b": keep-alive\n\n"
        + stream(
            chat({"role": "assistant", "content": None, "reasoning_content": ""}),
            chat({"content": None, "reasoning_content": "Hm"}),
            chat(call(0, "call_0_x", "f", "")),
            chat(call(0, None, None, '{"x":1}')),
            chat(
                {"content": "", "reasoning_content": None},
                "tool_calls",
                usage=USAGE | {"prompt_cache_hit_tokens": 3},
            ),
        ),
        "",
        "tool_use",
        [
            Thinking("Hm"),
            Keep(ThinkingBlock("Hm", {"wire": "openai", "reasoning_content": True})),
            Usage(5, 2, cache_read=3, total=7),
        ],
    ),
    "Mistral: a call in the last chunk, with the finish reason and the usage": (
        "openai",
        "mistral",
        stream(
            chat({"role": "assistant", "content": ""}),
            chat(
                {
                    "content": "",
                    "tool_calls": [
                        {"id": "aB3dE6gH9", "function": {"name": "f", "arguments": '{"x": 1}'}, "index": 0}
                    ],
                },
                "tool_calls",
                usage=USAGE,
                p="abcd",
            ),
        ),
        "",
        "tool_use",
        [Usage(5, 2, total=7)],
    ),
    "Google's OpenAI surface: a signature beside the call": (
        "openai",
        "own",
        stream(
            chat(
                call(0, "function-call-1", "f", '{"x":1}', extra_content={"google": {"thought_signature": "sig"}})
            ),
            chat({"role": "assistant"}, "stop"),
        ),
        "",
        "tool_use",
        [
            ToolCall(
                "function-call-1",
                "f",
                {"x": 1},
                '{"x":1}',
                {"wire": "openai", "extra_content": {"google": {"thought_signature": "sig"}}},
            )
        ],
    ),
    "vLLM: pings as comments, DONE without a space": (
        "openai",
        "vllm",
        b": ping - 2026\n\n"
        + stream(chat({"content": "Hi"}), chat({}, "stop", stop_reason=None), b"data:[DONE]", done=False),
        "Hi",
        "end_turn",
        [],
    ),
    "a proxy that adds a CR to each line and closes without DONE": (
        "openai",
        "own",
        stream(chat({"content": "Hi"}), chat({}, "stop"), done=False, line=b"\r\n"),
        "Hi",
        "end_turn",
        [],
    ),
    "Anthropic: pings, citations, a server tool and its result, more usage at the end": (
        "anthropic",
        "anthropic",
        stream(
            {
                "type": "message_start",
                "message": {
                    "id": "m",
                    "type": "message",
                    "role": "assistant",
                    "model": "c",
                    "content": [],
                    "stop_reason": None,
                    "usage": {
                        "input_tokens": 5,
                        "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": 0,
                        "cache_creation": {"ephemeral_5m_input_tokens": 0},
                        "output_tokens": 1,
                        "service_tier": "standard",
                    },
                },
            },
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            },
            {"type": "ping"},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "content_block_start",
                "index": 1,
                "content_block": {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": [{"type": "web_search_result", "url": "u"}],
                },
            },
            {"type": "content_block_stop", "index": 1},
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "text", "text": "", "citations": []},
            },
            {
                "type": "content_block_delta",
                "index": 2,
                "delta": {"type": "citations_delta", "citation": {"type": "web_search_result_location"}},
            },
            {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 2},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None, "container": None},
                "usage": {"input_tokens": 5, "output_tokens": 2, "server_tool_use": {"web_search_requests": 1}},
            },
            {"type": "message_stop"},
            done=False,
        ),
        "Hi",
        "end_turn",
        [],
    ),
    "Anthropic: overloaded in mid-stream at 200": (
        "anthropic",
        "anthropic",
        stream(
            {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 5}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
            b'event: error\ndata: {"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}',
            done=False,
        ),
        "Hi",
        "error",
        [],
    ),
    "Gemini: CRLF, a thought, a signature on a last empty text, counts that grow": (
        "gemini",
        "gemini",
        stream(
            {
                "candidates": [
                    {"content": {"parts": [{"text": "Hm", "thought": True}], "role": "model"}, "index": 0}
                ],
                "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 6, "thoughtsTokenCount": 1},
                "modelVersion": "g",
                "responseId": "r",
            },
            {
                "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0}],
                "modelVersion": "g",
                "responseId": "r",
            },
            {
                "candidates": [
                    {
                        "content": {"parts": [{"text": "", "thoughtSignature": "sig"}], "role": "model"},
                        "finishReason": "STOP",
                        "index": 0,
                        "groundingMetadata": {},
                        "safetyRatings": [],
                    }
                ],
                "usageMetadata": {
                    "promptTokenCount": 5,
                    "candidatesTokenCount": 1,
                    "thoughtsTokenCount": 1,
                    "totalTokenCount": 7,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
                },
                "modelVersion": "g",
                "responseId": "r",
            },
            done=False,
            line=b"\r\n",
        ),
        "Hi",
        "end_turn",
        [Thinking("Hm"), Keep(TextBlock("", {"wire": "gemini", "thoughtSignature": "sig"}))],
    ),
    "Gemini: a picture with its signature, a draft among the thoughts": (
        "gemini",
        "gemini",
        stream(
            {
                "candidates": [
                    {
                        "content": {
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}, "thought": True}]
                        }
                    }
                ]
            },
            {
                "candidates": [
                    {
                        "content": {
                            "parts": [
                                {"text": "Here."},
                                {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "sig"},
                            ]
                        },
                        "finishReason": "STOP",
                    }
                ]
            },
            done=False,
            line=b"\r\n",
        ),
        "Here.",
        "end_turn",
        [Image(msgspec.structs.replace(PICTURE, state={"wire": "gemini", "thoughtSignature": "sig"}))],
    ),
    "Ollama: its thoughts, then text, durations at the end": (
        "ollama",
        "ollama",
        b"".join(
            json.dumps({"model": "q", "created_at": f"2026-01-01T00:00:0{n}Z", "done": False, **more}).encode()
            + b"\n"
            for n, more in enumerate(
                [
                    {"message": {"role": "assistant", "content": "", "thinking": "Hm"}},
                    {"message": {"role": "assistant", "content": "Hi"}},
                    {
                        "message": {"role": "assistant", "content": ""},
                        "done": True,
                        "done_reason": "stop",
                        "total_duration": 9,
                        "prompt_eval_count": 5,
                        "eval_count": 2,
                    },
                ]
            )
        ),
        "Hi",
        "end_turn",
        [Thinking("Hm"), Usage(5, 2)],
    ),
}


def read(sample: Sample, *pieces: bytes) -> list[Event]:
    made = wire(sample[0], sample[1]).exchange(
        Conversation([Message("user", "hi")]), Options(model="m", stream=True)
    )
    kind = "application/x-ndjson" if sample[0] == "ollama" else "text/event-stream"
    decoder = made.decoder(status=200, headers={"content-type": kind}, now_s=0.0)
    return [e for piece in pieces for e in decoder.feed(piece)] + decoder.close()


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_it_is_read_whole_and_byte_by_byte(sample: Sample) -> None:
    *_, data, said, stop, among = sample
    events = read(sample, data)
    assert events == read(sample, *(data[i : i + 1] for i in range(len(data))))
    assert isinstance(events[0], Start) and isinstance(events[-1], End)
    assert "".join(e.text for e in events if isinstance(e, Text)) == said
    assert events[-1].stop_reason == stop
    for each in among:
        assert each in events, events


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_cut_at_every_byte_it_is_a_prefix_and_incomplete(sample: Sample) -> None:
    data = sample[2]
    whole = read(sample, data)
    finished = [e for e in whole[:-1] if not isinstance(e, Usage)]
    complete = False
    for cut in range(len(data)):
        got = read(sample, data[:cut])
        last = got[-1]
        assert isinstance(last, End)
        if last.stop_reason == "stream_incomplete":
            assert not complete  # once the terminal signal is in, more bytes do not undo it
            told = [e for e in got[:-1] if not isinstance(e, Usage)]  # usage so far is told at the cut
            assert told == finished[: len(told)]
            assert not any(isinstance(e, ToolCall) for e in got)
            continue
        complete = True
        assert last == whole[-1]
        kept = [e for e in got[:-1] if not isinstance(e, Usage)]
        assert kept == finished


# ---- and the way back


def turn(events: list[Event]) -> Message:
    """As a session stores it."""
    blocks: list[Block] = []
    for e in events:
        if isinstance(e, Text):
            blocks.append(TextBlock(e.text))
        elif isinstance(e, Keep | Image):
            blocks.append(e.block)
        elif isinstance(e, ToolCall):
            blocks.append(ToolUseBlock(e.id, e.name, e.arguments or {}, e.state))
    return Message("assistant", blocks)


def sent_back(name: str, *more: Message, **options: Any) -> Any:
    sample = SAMPLES[name]
    history = [Message("user", "hi"), turn(read(sample, sample[2])), *more]
    made = wire(sample[0], sample[1]).exchange(
        Conversation(history, tools=[Tool("f")]), Options(**({"model": "m"} | options))
    )
    return json.loads(made.request.body)


def test_w36_reasoning_details_go_back_to_openrouter_unmodified() -> None:
    name = "OpenRouter: reasoning_details in pieces, the signature last"
    message = sent_back(name, Message("user", "go"))["messages"][1]
    (kept,) = (e for e in SAMPLES[name][5] if isinstance(e, Keep))
    assert message["reasoning_details"] == kept.block.state["reasoning_details"]
    assert message["content"] == "Hi"


def test_w27_a_signature_goes_back_beside_the_very_call() -> None:
    answer = Message("user", [ToolResultBlock("function-call-1", "one")])
    message = sent_back("Google's OpenAI surface: a signature beside the call", answer)["messages"][1]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}


def test_reasoning_content_goes_back_with_calls_to_deepseek_alone() -> None:
    name = "DeepSeek: reasoning_content before a call is kept for its results"
    answer = Message("user", [ToolResultBlock("call_0_x", "one")])
    assert sent_back(name, answer)["messages"][1]["reasoning_content"] == "Hm"
    history = [Message("user", "hi"), turn(read(SAMPLES[name], SAMPLES[name][2])), answer]
    for provider in ("openai", "groq", "vllm", "own"):
        sent = wire("openai", provider).exchange(Conversation(history), Options(model="m")).request.body
        assert b"Hm" not in sent


def test_a_configuration_says_which_other_models_want_their_reasoning_back() -> None:
    tables = Models({"compatible": [{"pattern": "house-think.*", "keeps_reasoning": True}]})
    turn_ = turn(
        read(SAMPLES[name := "DeepSeek: reasoning_content before a call is kept for its results"], SAMPLES[name][2])
    )
    history = Conversation([Message("user", "hi"), turn_, Message("user", [ToolResultBlock("call_0_x", "one")])])
    for model, wanted in (("house-think-1", True), ("house-1", False)):
        sent = wire("openai", "vllm", tables).exchange(history, Options(model=model)).request.body
        assert (b'"reasoning_content":"Hm"' in sent) == wanted


def test_details_in_many_pieces_cost_what_they_hold() -> None:
    """A lying server: twenty thousand pieces of one detail, and as many details."""
    name = "OpenRouter: reasoning_details in pieces, the signature last"
    piece = {"type": "reasoning.text", "text": "x", "index": 0}
    same = [dict(piece) for _ in range(20_000)]
    each = [dict(piece, index=n) for n in range(20_000)]
    began = time.process_time()
    data = stream(
        chat({"reasoning_details": same}),
        chat({"reasoning_details": each}),
        chat({"content": "Hi"}),
        chat({}, "stop"),
    )
    (kept,) = (e for e in read((*SAMPLES[name][:2], data, "", "", []), data) if isinstance(e, Keep))
    assert kept.block.state is not None
    assert kept.block.state["reasoning_details"][0]["text"] == "x" * 20_001
    assert time.process_time() - began < 3


def test_a_picture_of_geminis_goes_back_to_it_with_its_signature() -> None:
    parts = sent_back("Gemini: a picture with its signature, a draft among the thoughts", Message("user", "bluer"))[
        "contents"
    ][1]["parts"]
    assert parts[-1] == {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "sig"}


# ---- how each accent is written


def written(provider: str, model: str, conversation: Conversation | None = None, **options: Any) -> Any:
    conversation = conversation or Conversation([Message("user", "hi")], system="s", tools=[Tool("f")])
    return json.loads(wire("openai", provider).exchange(conversation, Options(model=model, **options)).request.body)


REASONS = [
    ("openai", "gpt-5.2", {"thinking": "high"}, {"reasoning_effort": "high"}),
    ("openai", "gpt-5.2", {"thinking": "off"}, {"reasoning_effort": "none"}),
    ("openai", "gpt-5", {"thinking": "off"}, {"reasoning_effort": "minimal"}),
    ("openai", "o3", {"effort": "max"}, {"reasoning_effort": "high"}),
    ("openai", "gpt-4o", {"thinking": "high"}, {}),
    ("openai", "gpt-5.2", {"thinking": 9000}, {"reasoning_effort": "medium"}),
    ("openrouter", "anthropic/claude-sonnet-4.5", {"thinking": "low"}, {"reasoning": {"effort": "low"}}),
    ("openrouter", "anthropic/claude-sonnet-4.5", {"thinking": 2000}, {"reasoning": {"max_tokens": 2000}}),
    ("openrouter", "anthropic/claude-sonnet-4.5", {"thinking": "off"}, {"reasoning": {"effort": "none"}}),
    ("ollama", "qwen3:8b", {"thinking": "high"}, {"reasoning_effort": "high"}),
    ("ollama", "llama3.2", {"thinking": "high"}, {}),
    ("deepseek", "deepseek-chat", {"thinking": "high"}, {"thinking": {"type": "enabled"}}),
    ("deepseek", "deepseek-chat", {"thinking": "off"}, {"thinking": {"type": "disabled"}}),
    ("groq", "openai/gpt-oss-120b", {"thinking": "xhigh"}, {"reasoning_effort": "high"}),
    ("groq", "qwen/qwen3-32b", {"thinking": "off"}, {"reasoning_effort": "none"}),
    ("groq", "qwen/qwen3-32b", {"thinking": "low"}, {}),
    ("xai", "grok-3-mini", {"thinking": "medium"}, {"reasoning_effort": "high"}),
    ("xai", "grok-4", {"thinking": "medium"}, {}),
    ("vllm", "Qwen/Qwen3-8B", {"thinking": "off"}, {"chat_template_kwargs": {"enable_thinking": False}}),
    (
        "llamacpp",
        "x",
        {"thinking": "low"},
        {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "low"}},
    ),
]


@pytest.mark.parametrize(("provider", "model", "asked", "fields"), REASONS)
def test_w5_w36_reasoning_is_asked_for_in_each_servers_words(
    provider: str, model: str, asked: Any, fields: Any
) -> None:
    sent = written(provider, model, **asked)
    words = ("reasoning_effort", "reasoning", "thinking", "chat_template_kwargs")
    assert {name: sent[name] for name in words if name in sent} == fields


def test_w7_sampling_is_taken_beside_no_reasoning_from_gpt_5_1_on() -> None:
    assert written("openai", "gpt-5.2", temperature=1, thinking="off")["temperature"] == 1
    assert "temperature" not in written("openai", "gpt-5.2", temperature=1)
    assert "temperature" not in written("openai", "gpt-5", temperature=1, thinking="off")


def test_w36_openrouter_is_told_whom_to_ask_and_one_name_alone_is_an_order() -> None:
    assert written("openrouter", "x/y", provider_order=["a"])["provider"] == {
        "order": ["a"],
        "allow_fallbacks": False,
    }
    assert written("openrouter", "x/y", provider_order=["a", "b"])["provider"]["allow_fallbacks"] is True


def test_cache_marks_go_through_openrouter_to_models_that_take_them() -> None:
    turns = Conversation([Message("user", "a"), Message("assistant", "b"), Message("user", "c")], system="s")
    sent = written("openrouter", "anthropic/claude-sonnet-4.5", turns, cache=Cache(system=True, turns=1, ttl="1h"))
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert [isinstance(m["content"], list) for m in sent["messages"]] == [True, False, False, True]
    assert "cache_control" not in json.dumps(written("openrouter", "openai/gpt-5", turns, cache=Cache(system=True)))


def test_pictures_go_in_as_data_or_by_their_address() -> None:
    seen = Conversation([Message("user", [TextBlock("look"), PICTURE, ImageBlock("", url="https://x/y")])])
    assert written("openai", "gpt-4o", seen)["messages"][0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
    ]
    assert written("ollama", "llava", seen)["messages"][0]["content"][2] == {
        "type": "text",
        "text": "[image: https://x/y]",
    }
    request = wire("openai", "ollama").exchange(seen, Options(model="llava")).request
    assert [each.option for each in request.dropped] == ["images"]


def test_c7_mistral_takes_no_users_turn_behind_results_and_calls_a_seed_otherwise() -> None:
    history = [
        Message("user", "hi"),
        Message("assistant", [ToolUseBlock("call_1", "f", {})]),
        Message("user", [ToolResultBlock("call_1", "one"), TextBlock("go on")]),
    ]
    sent = written("mistral", "mistral-large-latest", Conversation(history, tools=[Tool("f")]), seed=3, stream=True)
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][-1]["content"] == "one\n\ngo on"
    assert sent["random_seed"] == 3
    assert not {"seed", "stream_options"} & sent.keys()


def test_w31_a_tool_cannot_be_forced_on_ollama_and_none_is_said_by_offering_none() -> None:
    assert "tools" not in written("ollama", "m", tool_choice="none")
    request = (
        wire("openai", "ollama")
        .exchange(Conversation([], tools=[Tool("f")]), Options(model="m", tool_choice="f"))
        .request
    )
    assert [each.option for each in request.dropped] == ["tool_choice"]
    assert "tool_choice" not in json.loads(request.body)


@pytest.mark.parametrize(
    ("name", "provider", "model", "told"),
    [
        ("gemini", "gemini", "gemini-2.5-flash-image", lambda sent: sent["generationConfig"]["responseModalities"]),
        (
            "gemini",
            "gemini",
            "gemini-3-pro-image-preview",
            lambda sent: sent["generationConfig"]["responseModalities"],
        ),
        ("openai", "openrouter", "google/gemini-2.5-flash-image", lambda sent: sent["modalities"]),
    ],
)
def test_a_model_that_draws_is_asked_for_pictures(name: str, provider: str, model: str, told: Any) -> None:
    request = wire(name, provider).exchange(Conversation([Message("user", "draw")]), Options(model=model)).request
    assert {word.lower() for word in told(json.loads(request.body))} == {"text", "image"}
