"""The Anthropic messages wire: a conversation becomes request bytes; `Decoder` reads the answer.

Spoken by Anthropic, and by gateways and local servers (litellm, llama.cpp) that look like it. What is written
hardly differs; what single models refuse does, and is data (models.toml), held against the options in
anthropic_options. How answers are read is anthropic_decoder's.

A turn is written the same way every time, as a list of blocks and in front of all that changes, and no turn
depends on a later one: a longer conversation begins with the bytes of the shorter one but for its cache marks.
Prompt caches live on that, and newer models refuse a history that changed (W20).

This is the module others import. Knows no socket, no clock, no session, no origin, no key but to write it into
a header. Sources: LLM_WIRE.md §2.2, C6, C7, I13 to I17; platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from luahost.wire import models, schemas
from luahost.wire.anthropic_decoder import Decoder
from luahost.wire.anthropic_frames import parse_usage
from luahost.wire.anthropic_options import decide, tool_choice
from luahost.wire.messages import (
    Block,
    Cache,
    Conversation,
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
from luahost.wire.requests import post

__all__ = [
    "ANTHROPIC",
    "Decoder",
    "Dialect",
    "auth_headers",
    "encode",
    "models_path",
    "parse_usage",
    "path",
    "takes_schema",
]

path = "/v1/messages"
models_path = "/v1/models"

MAX_BREAKPOINTS = 4  # a fifth is a 400


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one server is spoken to. `facts`: what its models take, None for the table that ships.

    The version is not the newest: 2026-10-21 refuses temperature and top_p for every model, and gateways and
    local servers know only this one.
    """

    version: str = "2023-06-01"
    betas: tuple[str, ...] = ()
    facts: models.Table[models.Claude] | None = None


ANTHROPIC = Dialect()


def auth_headers(key: str, *, dialect: Dialect = ANTHROPIC) -> dict[str, str]:
    """The version stands here too: a GET of `models_path` needs it beside the key.

    An OAuth token goes as Bearer. Nothing is put in front of the caller's system prompt for it (I17).
    """
    if key.startswith("sk-ant-oat"):
        betas = ",".join(("oauth-2025-04-20", *dialect.betas))
        return {"Authorization": f"Bearer {key}", "anthropic-version": dialect.version, "anthropic-beta": betas}
    return {"x-api-key": key, "anthropic-version": dialect.version}


def takes_schema(conversation: Conversation, options: Options, *, dialect: Dialect) -> bool:
    """Whether the schema goes as one, rather than as a forced tool's."""
    facts = _facts(options.model, dialect)
    fits = schemas.is_object(options.response_schema or {}) and schemas.closes(options.response_schema or {})
    return facts.schema and (fits or not facts.forced_tools)


def encode(conversation: Conversation, options: Options, *, dialect: Dialect) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    facts = _facts(options.model, dialect)
    decided = decide(options, facts)
    system, turns = _turns(conversation, facts)
    tools = [_tool(tool) for tool in _in_order(conversation.tools, options.cache)]
    if options.cache is not None:
        _mark(options.cache, tools, system, turns)
    body: dict[str, Any] = {"model": options.model}
    if tools:
        body["tools"] = tools
    if system:
        body["system"] = system
    body["messages"] = turns
    body["max_tokens"] = decided.max_tokens
    body["stream"] = options.stream
    if tools:
        choice = tool_choice(decided.tool_choice, options.parallel_tool_calls)
        if choice is not None:
            body["tool_choice"] = choice
    if options.stop:
        body["stop_sequences"] = options.stop
    body |= decided.fields
    headers = {"anthropic-version": dialect.version}
    if dialect.betas:
        headers["anthropic-beta"] = ",".join(dialect.betas)
    return post(path, body, options, decided.dropped, headers=headers)


def _facts(model: str, dialect: Dialect) -> models.Claude:
    return (dialect.facts or models.SHIPPED.anthropic).facts(model)


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────


def _turns(conversation: Conversation, facts: models.Claude) -> tuple[list[Any], list[dict[str, Any]]]:
    """The system prompt's blocks, and the turns: neighbours of one role are one, none is empty."""
    system = _text(conversation.system or "")
    turns: list[dict[str, Any]] = []
    last = len(conversation.messages) - 1
    for position, message in enumerate(conversation.messages):
        role, blocks = message.role, list(_blocks(message))
        if role == "system":
            if not turns:
                system += blocks
                continue
            # Its own turn only between a user's and the model's; elsewhere it is a word of the user.
            follows_user = turns[-1]["role"] in ("user", "system")
            before_user = position < last and conversation.messages[position + 1].role == "user"
            role = "system" if facts.system_turns and follows_user and not before_user else "user"
        # An empty prompt is left for the server to refuse: without it the model would go on with its own turn.
        if not blocks and not (position == last and role == "user"):
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:  # W21: results first, calls last; the order is kept otherwise
        turn["content"].sort(key=lambda block: (block["type"] != "tool_result", block["type"] == "tool_use"))
    return system, turns


def _text(text: str) -> list[dict[str, Any]]:
    """A block of nothing but blanks is a 400, wherever it stands."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    content: Sequence[Block] = (
        message.content if isinstance(message.content, list) else [TextBlock(message.content)]
    )
    for block in content:
        if isinstance(block, TextBlock):
            yield from _text(block.text)
        elif message.role == "assistant":
            if isinstance(block, ToolUseBlock):
                yield {"type": "tool_use", "id": _id(block.id), "name": block.name, "input": block.input}
            elif isinstance(block, ThinkingBlock):
                yield from _echo(block)
        elif message.role == "user":
            if isinstance(block, ToolResultBlock):
                yield _result(block)
            elif isinstance(block, ImageBlock):
                yield from _image(block)


def _echo(block: ThinkingBlock) -> Iterator[dict[str, Any]]:
    """Thinking goes back as it came; that of another provider, or without its signature, not at all."""
    state = block.state or {}
    if state.get("wire") != "anthropic":
        return
    if "redacted" in state:
        yield {"type": "redacted_thinking", "data": state["redacted"]}
    elif state.get("signature"):
        yield {"type": "thinking", "thinking": block.text, "signature": state["signature"]}


def _result(block: ToolResultBlock) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(block.tool_use_id)}
    if block.content.strip():
        written["content"] = block.content
    if block.is_error:
        written["is_error"] = True
    return written


def _image(block: ImageBlock) -> Iterator[dict[str, Any]]:
    if block.data:
        data = base64.b64encode(block.data).decode()
        yield {"type": "image", "source": {"type": "base64", "media_type": block.media_type, "data": data}}
    elif block.url:
        yield {"type": "image", "source": {"type": "url", "url": block.url}}


def _id(id: str) -> str:
    """Ids of other providers, in the letters this wire takes (C7): the same id always becomes the same."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", id):
        return id
    digest = hashlib.blake2s(id.encode("utf-8", "replace"), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', id)[:40]}_{digest}"


# ── tools and caches ────────────────────────────────────────────────────────────────────────────────────


def _in_order(tools: list[Tool], cache: Cache | None) -> list[Tool]:
    """By name where a cache is wanted (I15): tools stand before all else in the cached prefix, and callers that
    gather them from a table give them in any order. Without a cache the caller's order stands."""
    cached = cache is not None and (cache.tools or cache.system or cache.turns > 0)
    return sorted(tools, key=lambda tool: tool.name) if cached else tools


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = {"type": "object"} | (tool.parameters or {"properties": {}})
    return written


def _mark(cache: Cache, tools: list[Any], system: list[Any], turns: list[dict[str, Any]]) -> None:
    """Puts the breakpoints, in the order of the prefix. All have one ttl, so no 1h stands behind a 5m."""
    mark = {"type": "ephemeral"} | ({"ttl": "1h"} if cache.ttl == "1h" else {})
    ends = [tools[-1:] if cache.tools else [], system[-1:] if cache.system else []]
    marked = [block for end in ends for block in end]
    users = [turn["content"][-1] for turn in turns if turn["role"] == "user" and turn["content"]]
    count = min(cache.turns, MAX_BREAKPOINTS - len(marked))
    marked += users[-count:] if count > 0 else []
    for block in marked:
        block["cache_control"] = mark
