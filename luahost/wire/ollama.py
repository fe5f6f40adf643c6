"""Ollama's own wire, /api/chat: a conversation becomes request bytes; `Decoder` reads the answer.

Why not its OpenAI surface: that one cannot set `num_ctx`, and it swallows an error in the middle of an answer.
How an answer is read is ollama_decoder's.

This is the module others import. Knows no socket, no clock, no session, no origin. Sources: LLM_WIRE.md W31–W33;
ollama/ollama api/types.go (`ChatRequest`, `Message`, `ThinkValue`, `Duration`).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from luahost.wire.messages import (
    Conversation,
    Dropped,
    ImageBlock,
    Message,
    Options,
    Request,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    text_of,
    tool_uses,
)
from luahost.wire.ollama_decoder import Decoder
from luahost.wire.requests import NO_MARKS, ONLY_GATEWAYS, no_place, post

__all__ = ["Decoder", "auth_headers", "encode", "models_path", "path", "takes_schema"]

path = "/api/chat"
models_path = "/api/tags"

# A level is taken by every thinking model; those that only know on and off read it as on.
THINK: dict[str, bool | str] = {
    "off": False,
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


def auth_headers(key: str) -> dict[str, str]:
    """Only Ollama's cloud wants one; a local server is sent none."""
    return {"Authorization": f"Bearer {key}"}


def takes_schema(conversation: Conversation, options: Options, *, dialect: None = None) -> bool:
    """Always: the server holds the model to any schema."""
    return True


def _dropped(conversation: Conversation, options: Options) -> list[Dropped]:
    dropped = no_place(options, cache=NO_MARKS, provider_order=ONLY_GATEWAYS)
    if options.tool_choice not in (None, "auto", "none"):
        dropped.append(Dropped("tool_choice", "cannot be forced on this wire; it was not sent"))
    if options.parallel_tool_calls is False:
        dropped.append(Dropped("parallel_tool_calls", "cannot be switched off on this wire; it was not sent"))
    wish = options.thinking if options.effort is None else options.effort
    asked = "thinking" if options.effort is None else "effort"
    if isinstance(wish, int) and wish != 0:
        dropped.append(Dropped("thinking", "was sent as on, without a budget"))
    elif isinstance(wish, str) and wish in ("minimal", "xhigh"):
        dropped.append(Dropped(asked, f"was sent as {THINK[wish]!r}"))
    if options.effort is not None and options.thinking is not None:
        dropped.append(Dropped("thinking", "gives way to effort on this wire; it was not sent"))
    blocks = (
        block for turn in conversation.messages if not isinstance(turn.content, str) for block in turn.content
    )
    if any(isinstance(block, ImageBlock) and block.url is not None for block in blocks):
        dropped.append(Dropped("images", "named by a URL are not fetched by this server; they were sent as text"))
    return dropped


def encode(conversation: Conversation, options: Options, *, dialect: None = None) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again. There are no dialects of this wire."""
    messages: list[dict[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": "system", "content": conversation.system})
    names: dict[str, str] = {}
    for message in conversation.messages:
        names |= {use.id: use.name for use in tool_uses(message)}
        messages += _message(message, names)
    body: dict[str, Any] = {"model": options.model, "messages": messages, "stream": options.stream}
    if conversation.tools and options.tool_choice != "none":  # the wire has no such word
        body["tools"] = [_tool(tool) for tool in conversation.tools]
    said: dict[str, Any] = {
        "num_ctx": options.num_ctx,
        "num_predict": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "seed": options.seed,
        "stop": options.stop or None,
    }
    for_the_runner = {name: value for name, value in said.items() if value is not None}
    if for_the_runner:
        body["options"] = for_the_runner
    wish = options.thinking if options.effort is None else options.effort
    if wish is not None:
        body["think"] = THINK.get(wish, True) if isinstance(wish, str) else wish != 0
    if options.response_schema is not None:
        body["format"] = options.response_schema
    if options.keep_alive is not None:  # a text needs a unit, seconds and -1 are numbers
        seconds = re.fullmatch(r"-?\d+", options.keep_alive)
        body["keep_alive"] = int(options.keep_alive) if seconds else options.keep_alive
    return post(path, body, options, _dropped(conversation, options), stream_type="application/x-ndjson")


def _message(message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """One turn is one message, but for a user's turn with tool results: those come first, one each."""
    blocks = () if isinstance(message.content, str) else message.content
    # The wire has no is_error; the result's text has to say it.
    written: list[dict[str, Any]] = [
        {
            "role": "tool",
            "content": block.content,
            "tool_name": names.get(block.tool_use_id, ""),
            "tool_call_id": block.tool_use_id,
        }
        for block in blocks
        if isinstance(block, ToolResultBlock)
    ]
    said: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    images = [block for block in blocks if isinstance(block, ImageBlock)]
    urls = [f"[image: {image.url}]" for image in images if image.url is not None]
    if urls:  # the server fetches nothing; the model is told at least what it does not see
        said["content"] = "\n".join(filter(None, [said["content"], *urls]))
    data = [b64encode(image.data).decode() for image in images if image.url is None]
    if data:
        said["images"] = data
    thoughts = "".join(block.text for block in blocks if isinstance(block, ThinkingBlock) and _is_own(block))
    if thoughts:
        said["thinking"] = thoughts
    calls = [{"id": use.id, "function": {"name": use.name, "arguments": use.input}} for use in tool_uses(message)]
    if calls:
        said["tool_calls"] = calls
    if not written or said["content"] or data:
        written.append(said)
    return written


def _is_own(block: ThinkingBlock) -> bool:
    return block.state is not None and block.state.get("wire") == "ollama"


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
