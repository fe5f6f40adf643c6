"""The OpenAI chat-completions wire: a conversation becomes request bytes; `Decoder` reads the answer.

Spoken by OpenAI and by most others (Ollama, OpenRouter, llama.cpp, vLLM, LM Studio, Groq, gateways), each with an
accent. What is written differs little, and all of it is data: openai_dialects says how a server is spoken to,
models.toml what single models take, openai_options what follows for the options. How answers differ is
openai_decoder's and openai_frames'.

A turn is written without a look at the later ones, so a longer conversation begins with the bytes of the shorter
one but for its cache marks. What another server left in a turn for itself is not sent on.

This is the module others import. Knows no socket, no clock, no session, no origin, no key but to write it into a
header. Sources: LLM_WIRE.md §2.1, §2.4, §3, C5 to C7.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from luahost.wire import models, schemas
from luahost.wire.messages import (
    Block,
    Cache,
    Conversation,
    Dropped,
    ImageBlock,
    Message,
    Options,
    Request,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from luahost.wire.openai_decoder import Decoder
from luahost.wire.openai_dialects import COMPATIBLE, OPENAI, Dialect
from luahost.wire.openai_frames import parse_usage
from luahost.wire.openai_options import call_id, decide
from luahost.wire.requests import encode_json, post

__all__ = [
    "COMPATIBLE",
    "OPENAI",
    "Decoder",
    "Dialect",
    "auth_headers",
    "encode",
    "facts_of",
    "models_path",
    "parse_usage",
    "path",
    "takes_schema",
]

path = "/v1/chat/completions"
models_path = "/v1/models"


def auth_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def facts_of(model: str, dialect: Dialect) -> models.Gpt:
    """What this model of this server takes."""
    shipped = models.SHIPPED.openai if dialect.official else models.SHIPPED.compatible
    return (dialect.facts or shipped).facts(model)


def takes_schema(conversation: Conversation, options: Options, *, dialect: Dialect) -> bool:
    """Whether the schema goes as one, rather than as a forced tool's."""
    fits = schemas.is_object(options.response_schema or {})
    return dialect.schema and facts_of(options.model, dialect).schema and fits


def encode(conversation: Conversation, options: Options, *, dialect: Dialect) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    facts = facts_of(options.model, dialect)
    if facts.keeps_reasoning:
        dialect = msgspec.structs.replace(dialect, echoes=dialect.echoes | {"reasoning_content"})
    fields, dropped = decide(options, facts, dialect)
    messages: list[dict[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": dialect.system_role, "content": conversation.system})
    for message in conversation.messages:
        messages += _message(message, dialect, dropped)
    if options.cache is not None and dialect.gateway and facts.cache_marks:
        _mark(options.cache, messages)
    body: dict[str, Any] = {"model": options.model, "messages": messages, "stream": options.stream}
    if options.stream and dialect.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if conversation.tools:
        _offer(conversation.tools, options, facts, dialect, body, dropped)
    return post(path, body | fields, options, dropped)


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────


def _message(message: Message, dialect: Dialect, dropped: list[Dropped]) -> list[dict[str, Any]]:
    """One turn is one message, but for a user's turn with tool results: those come first, one each."""
    blocks = message.content
    role = dialect.system_role if message.role == "system" else message.role
    if isinstance(blocks, str):
        return [{"role": role, "content": blocks}]
    if message.role == "assistant":
        return [_assistant(blocks, dialect)]
    if message.role == "system":
        return [{"role": role, "content": _joined(blocks)}]
    # The wire has no is_error; the result's text has to say it.
    written: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": call_id(block.tool_use_id, dialect), "content": block.content}
        for block in blocks
        if isinstance(block, ToolResultBlock)
    ]
    content = _content(blocks, dialect, dropped)
    if not content and written:
        return written
    if written and not dialect.text_after_results and isinstance(content, str):
        written[-1]["content"] = f"{written[-1]['content']}\n\n{content}"
        return written
    return [*written, {"role": "user", "content": content}]


def _joined(blocks: Sequence[Block]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))


def _content(blocks: Sequence[Block], dialect: Dialect, dropped: list[Dropped]) -> str | list[dict[str, Any]]:
    """A text, as old servers know nothing else; parts where there is a picture among them."""
    if not any(isinstance(block, ImageBlock) for block in blocks):
        return _joined(blocks)
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, TextBlock) and block.text:
            parts.append({"type": "text", "text": block.text})
        elif isinstance(block, ImageBlock) and block.url is not None and dialect.images == "inline":
            dropped.append(
                Dropped("images", "named by a URL are not fetched by this server; they were sent as text")
            )
            parts.append({"type": "text", "text": f"[image: {block.url}]"})
        elif isinstance(block, ImageBlock):
            parts.append({"type": "image_url", "image_url": {"url": data_uri(block)}})
    return parts


def data_uri(block: ImageBlock) -> str:
    """The picture as one URL: its own, or one that holds it."""
    return block.url or f"data:{block.media_type};base64,{base64.b64encode(block.data).decode()}"


def _assistant(blocks: Sequence[Block], dialect: Dialect) -> dict[str, Any]:
    # "" and not null beside calls: OpenAI takes both, chat templates of local servers die of null.
    written: dict[str, Any] = {"role": "assistant", "content": _joined(blocks)}
    details: list[Any] = []
    for block in blocks:
        if isinstance(block, ThinkingBlock):
            state = _own(block, dialect)
            kept = state.get("reasoning_details")  # a script may have loaded it, so it may be anything
            details += kept if isinstance(kept, list) else []
            if "reasoning_content" in state:
                written["reasoning_content"] = written.get("reasoning_content", "") + block.text
    if details:
        written["reasoning_details"] = details
    calls = [_call(block, dialect) for block in blocks if isinstance(block, ToolUseBlock)]
    if calls:
        written["tool_calls"] = calls
    return written


def _call(use: ToolUseBlock, dialect: Dialect) -> dict[str, Any]:
    function = {"name": use.name, "arguments": encode_json(use.input).decode()}
    return {"id": call_id(use.id, dialect), "type": "function", "function": function, **_own(use, dialect)}


def _own(block: ThinkingBlock | ToolUseBlock, dialect: Dialect) -> dict[str, Any]:
    """What a server of this wire left, as far as this one wants it back."""
    state = block.state or {}
    if state.get("wire") != "openai":
        return {}
    return {name: value for name, value in state.items() if name in dialect.echoes}


# ── tools and caches ────────────────────────────────────────────────────────────────────────────────────


def _offer(  # noqa: PLR0917 - what the body's tools are made of
    tools: list[Tool],
    options: Options,
    facts: models.Gpt,
    dialect: Dialect,
    body: dict[str, Any],
    dropped: list[Dropped],
) -> None:
    choice, parallel = options.tool_choice, options.parallel_tool_calls
    if "tool_choice" in dialect.lacks and choice is not None:
        if choice == "none":  # said by leaving them out
            return
        if choice != "auto":
            dropped.append(Dropped("tool_choice", "cannot be forced on this server; it was not sent"))
        choice = None
    body["tools"] = [_tool(tool) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _tool_choice(choice)
    if parallel is not None and facts.parallel and "parallel_tool_calls" not in dialect.lacks:
        body["parallel_tool_calls"] = parallel
    elif parallel is False:
        dropped.append(Dropped("parallel_tool_calls"))


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


def _mark(cache: Cache, messages: list[dict[str, Any]]) -> None:
    """Breakpoints as OpenRouter hands them on; tools stand in front of the system prompt and are kept with it."""
    mark: dict[str, str] = {"type": "ephemeral"} | ({"ttl": "1h"} if cache.ttl == "1h" else {})
    systems = [m for m in messages if m["role"] in ("system", "developer")] if cache.system or cache.tools else []
    users = [m for m in messages if m["role"] == "user"]
    for message in systems[:1] + (users[-min(cache.turns, 3) :] if cache.turns > 0 else []):
        content = message["content"]
        if not content:
            continue
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts[-1]["cache_control"] = mark
        message["content"] = parts
