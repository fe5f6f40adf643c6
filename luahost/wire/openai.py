"""The OpenAI chat-completions wire: a conversation becomes request bytes; `Decoder` reads the answer.

Spoken by OpenAI and by most others (Ollama, OpenRouter, llama.cpp, vLLM, LM Studio, Groq, gateways), each
with an accent. What is written differs little, and all of it is data: a `Dialect` says how a server is spoken
to, its `ModelRule`s what single models refuse. How answers differ is openai_decoder's and openai_frames'.

This is the module others import. Knows no socket, no clock, no session, no origin, no key but to write it
into a header. Sources: LLM_WIRE.md §2.1, §3.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from luahost.wire.messages import (
    Conversation,
    Message,
    Options,
    Request,
    Tool,
    ToolResultBlock,
    text_of,
    tool_uses,
)
from luahost.wire.openai_decoder import Decoder
from luahost.wire.openai_frames import parse_usage

__all__ = [
    "COMPATIBLE",
    "OPENAI",
    "Decoder",
    "Dialect",
    "ModelRule",
    "auth_headers",
    "dropped_options",
    "encode",
    "models_path",
    "parse_usage",
    "path",
]

path = "/v1/chat/completions"
models_path = "/v1/models"

_encode_json = msgspec.json.Encoder().encode


class ModelRule(msgspec.Struct, frozen=True):
    """What is different for the models whose whole name matches `pattern`; the first match counts."""

    pattern: str
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"]
    drops: tuple[str, ...] = ()  # options such a model answers with a 400


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one server's accent is written. The default is what every compatible server understands."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    stream_usage: bool = True
    rules: tuple[ModelRule, ...] = ()


COMPATIBLE = Dialect()
# `system` also for reasoning models: the API reads it as `developer`, and servers behind a base_url that
# only look like OpenAI refuse `developer`.
OPENAI = Dialect(
    rules=(
        ModelRule(r"gpt-\d.*-chat.*", "max_tokens"),
        ModelRule(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)).*", "max_completion_tokens", ("temperature", "top_p")),
    )
)


def auth_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def dropped_options(options: Options, *, dialect: Dialect) -> list[str]:
    """The options that are set and will not be sent, because the model refuses them; for a warning."""
    rule = _rule(options.model, dialect)
    return [name for name in rule.drops if getattr(options, name) is not None]


def encode(conversation: Conversation, options: Options, *, dialect: Dialect) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    rule = _rule(options.model, dialect)
    messages: list[dict[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": dialect.system_role, "content": conversation.system})
    for message in conversation.messages:
        messages += _message(message, dialect)
    tools = [_tool(tool) for tool in conversation.tools]
    body: dict[str, Any] = {"model": options.model, "messages": messages, "stream": options.stream}
    if options.stream and dialect.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = tools
        if options.tool_choice is not None:  # a 400 without tools
            body["tool_choice"] = _tool_choice(options.tool_choice)
    said = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
        "stop": options.stop or None,
    }
    for name, value in said.items():
        if value is not None and name not in rule.drops:
            body[rule.max_tokens_field if name == "max_tokens" else name] = value
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if options.stream else "application/json",
    }
    return Request("POST", path, headers, _encode_json(body))


def _rule(model: str, dialect: Dialect) -> ModelRule:
    matching = (rule for rule in dialect.rules if re.fullmatch(rule.pattern, model))
    return next(matching, ModelRule("", dialect.max_tokens_field))


def _message(message: Message, dialect: Dialect) -> list[dict[str, Any]]:
    """One turn is one message, but for a user's turn with tool results: those come first, one each."""
    text = text_of(message)
    if message.role == "assistant":
        # "" and not null beside calls: OpenAI takes both, chat templates of local servers die of null.
        written: dict[str, Any] = {"role": "assistant", "content": text}
        calls = [
            {
                "id": use.id,
                "type": "function",
                "function": {"name": use.name, "arguments": _encode_json(use.input).decode()},
            }
            for use in tool_uses(message)
        ]
        if calls:
            written["tool_calls"] = calls
        return [written]
    if message.role == "system":
        return [{"role": dialect.system_role, "content": text}]
    blocks = () if isinstance(message.content, str) else message.content
    # The wire has no is_error; the result's text has to say it.
    results: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": block.content}
        for block in blocks
        if isinstance(block, ToolResultBlock)
    ]
    if text or not results:
        results.append({"role": "user", "content": text})
    return results


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}
