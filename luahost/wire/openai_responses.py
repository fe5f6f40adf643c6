"""OpenAI's Responses API: a conversation becomes request bytes; `Decoder` reads the answer.

The second wire of one vendor, for the models that reason and call tools on this one only (models.toml says which),
and for those who ask for it: wire = "openai-responses". Nothing is stored at the vendor (`store` is false): the
whole conversation goes along each time, and what the model reasoned goes back encrypted, item by item as it came.

This is the module others import. Knows no socket, no clock, no session, no origin. Sources: LLM_WIRE.md W5 to W9,
I18; the `openai` package's ResponseCreateParams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from luahost.wire import models
from luahost.wire.messages import (
    Block,
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
from luahost.wire.openai import auth_headers, data_uri, facts_of, models_path, takes_schema
from luahost.wire.openai_dialects import OPENAI, Dialect
from luahost.wire.openai_frames import parse_usage
from luahost.wire.openai_options import call_id, json_schema, sampling, thinking
from luahost.wire.openai_responses_decoder import Decoder
from luahost.wire.requests import NO_MARKS, ONLY_GATEWAYS, ONLY_OLLAMA, encode_json, no_place, post

__all__ = ["Decoder", "auth_headers", "encode", "models_path", "parse_usage", "path", "takes_schema"]

path = "/v1/responses"

CALL_ID_CHARS = 64
MIN_OUTPUT_TOKENS = 16  # fewer are a 400


def encode(conversation: Conversation, options: Options, *, dialect: Dialect = OPENAI) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    facts = facts_of(options.model, dialect)
    fields, dropped = _decide(options, facts, dialect)
    body: dict[str, Any] = {"model": options.model, "store": False, "stream": options.stream}
    if conversation.system is not None:
        body["instructions"] = conversation.system
    body["input"] = [item for message in conversation.messages for item in _items(message, dialect)]
    if facts.efforts:
        body["include"] = ["reasoning.encrypted_content"]
    if conversation.tools:
        body["tools"] = [_tool(tool) for tool in conversation.tools]
        if options.tool_choice is not None:
            body["tool_choice"] = _tool_choice(options.tool_choice)
        if options.parallel_tool_calls is not None and facts.parallel:
            body["parallel_tool_calls"] = options.parallel_tool_calls
        elif options.parallel_tool_calls is False:
            dropped.append(Dropped("parallel_tool_calls"))
    return post(path, body | fields, options, dropped)


def _decide(options: Options, facts: models.Gpt, dialect: Dialect) -> tuple[dict[str, Any], list[Dropped]]:
    said, dropped = thinking(options, facts, dialect)
    effort = said.get("reasoning_effort")
    fields: dict[str, Any] = {}
    if effort is not None:
        # A summary is asked for only with `thinking`: accounts that are not verified are refused one.
        told = options.thinking is not None and effort != "none"
        fields["reasoning"] = {"effort": effort} | ({"summary": "auto"} if told else {})
    sampled, refused = sampling(options, facts, effort)
    fields |= sampled
    dropped += refused
    if options.max_tokens is not None:
        fields["max_output_tokens"] = max(options.max_tokens, MIN_OUTPUT_TOKENS)
        if options.max_tokens < MIN_OUTPUT_TOKENS:
            dropped.append(Dropped("max_tokens", f"was sent as {MIN_OUTPUT_TOKENS}, the least this wire takes"))
    if options.response_schema is not None:
        form = {"type": "json_schema", **json_schema(options.response_schema)}
        fields["text"] = {"format": form}
    nowhere = "has no place in the Responses API; it was not sent"
    dropped += no_place(
        options,
        seed=nowhere,
        stop=nowhere,
        cache=NO_MARKS,
        num_ctx=ONLY_OLLAMA,
        keep_alive=ONLY_OLLAMA,
        provider_order=ONLY_GATEWAYS,
    )
    return fields, dropped


# ── items ───────────────────────────────────────────────────────────────────────────────────────────────


def _items(message: Message, dialect: Dialect) -> Iterator[dict[str, Any]]:
    """One turn is one item, but for tool traffic and reasoning, each of which is one of its own, in its place."""
    blocks: Sequence[Block] = [TextBlock(message.content)] if isinstance(message.content, str) else message.content
    if message.role == "assistant":
        yield from _assistant(blocks, dialect)
        return
    for block in blocks:
        if isinstance(block, ToolResultBlock):
            id = call_id(block.tool_use_id, dialect, most=CALL_ID_CHARS)
            yield {"type": "function_call_output", "call_id": id, "output": block.content}
    parts = [part for block in blocks if (part := _part(block)) is not None]
    if parts or not any(isinstance(block, ToolResultBlock) for block in blocks):
        role = "developer" if message.role == "system" else "user"
        yield {"type": "message", "role": role, "content": parts or [{"type": "input_text", "text": ""}]}


def _part(block: Block) -> dict[str, Any] | None:
    if isinstance(block, TextBlock) and block.text:
        return {"type": "input_text", "text": block.text}
    if isinstance(block, ImageBlock):
        return {"type": "input_image", "image_url": data_uri(block), "detail": "auto"}
    return None


def _assistant(blocks: Sequence[Block], dialect: Dialect) -> Iterator[dict[str, Any]]:
    for block in blocks:
        state = getattr(block, "state", None) or {}
        own = state if state.get("wire") == "openai-responses" else {}
        if isinstance(block, TextBlock) and block.text:
            phase = {"phase": own["phase"]} if "phase" in own else {}
            yield {"type": "message", "role": "assistant", "content": block.text, **phase}
        elif isinstance(block, ThinkingBlock) and isinstance(own.get("item"), dict):
            yield own["item"]
        elif isinstance(block, ToolUseBlock):
            id = call_id(block.id, dialect, most=CALL_ID_CHARS)
            arguments = encode_json(block.input).decode()
            yield {"type": "function_call", "call_id": id, "name": block.name, "arguments": arguments}


# ── tools ───────────────────────────────────────────────────────────────────────────────────────────────


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    # Said, as the default here is strict, and a schema that does not fit the strict rules would be a 400.
    declared = {"type": "function", "name": tool.name, "parameters": parameters, "strict": False}
    return declared | ({"description": tool.description} if tool.description else {})


def _tool_choice(choice: str) -> Any:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "name": choice}
