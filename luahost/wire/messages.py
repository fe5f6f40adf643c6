"""What a conversation is, whichever wire carries it: the words of `wire.*.encode`.

The shapes are also the stored form: a session dump is `{"sess-…": [Message, …]}` in exactly this JSON,
which is the upstream's. A message's content is a text, or a list of blocks told apart by `type`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class TextBlock(msgspec.Struct, frozen=True, tag="text"):
    text: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call the model made. `input` is the parsed arguments object."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """The answer to the call `tool_use_id`."""

    tool_use_id: str
    content: str
    is_error: bool = False


Block = TextBlock | ToolUseBlock | ToolResultBlock


class Message(msgspec.Struct, frozen=True):
    """One turn. Tool results are a user's turn, as on the Anthropic wire; each wire writes its own."""

    role: Literal["system", "user", "assistant"]
    content: str | list[Block]


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Conversation(msgspec.Struct, frozen=True):
    """What is sent: the system prompt (None: none), the turns in order, the tools on offer."""

    messages: list[Message]
    system: str | None = None
    tools: list[Tool] = []


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is to be answered. None is "not said" and is left out of the request."""

    model: str
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    tool_choice: str | None = None  # auto | none | required | a tool's name


class Request(msgspec.Struct, frozen=True):
    """An HTTP request without its origin and without its key: the transport adds both."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def text_of(message: Message) -> str:
    """All text blocks of a message joined; tool traffic left out."""
    if isinstance(message.content, str):
        return message.content
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def tool_uses(message: Message) -> list[ToolUseBlock]:
    """The calls an assistant message makes, in order."""
    if isinstance(message.content, str):
        return []
    return [block for block in message.content if isinstance(block, ToolUseBlock)]
