"""What a conversation is, whichever wire carries it: the words of `wire.*.encode`.

The shapes are also the stored form: a session dump is `{"sess-…": [Message, …]}` in exactly this JSON,
which is the upstream's. A message's content is a text, or a list of blocks told apart by `type`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

State = dict[str, Any]
"""What a provider wants back unchanged with a block (signatures, encrypted reasoning): {"wire": NAME, …}.

Opaque to everyone but the wire that wrote it; every other wire leaves it out.
"""


class TextBlock(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    text: str
    state: State | None = None


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking", omit_defaults=True):
    """Reasoning that must be echoed. `text` may be empty: redacted, or only its signature is known."""

    text: str
    state: State | None = None


class ImageBlock(msgspec.Struct, frozen=True, tag="image", omit_defaults=True):
    """A picture: its bytes, base64 in JSON, or the URL of one the provider fetches itself.

    In a user's turn it is shown to the model; in an assistant's the model made it.
    """

    media_type: str
    data: bytes = b""
    url: str | None = None
    state: State | None = None


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use", omit_defaults=True):
    """A call the model made. `input` is the parsed arguments object."""

    id: str
    name: str
    input: dict[str, Any]
    state: State | None = None


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """The answer to the call `tool_use_id`."""

    tool_use_id: str
    content: str
    is_error: bool = False


Block = TextBlock | ThinkingBlock | ImageBlock | ToolUseBlock | ToolResultBlock


class Message(msgspec.Struct, frozen=True):
    """One turn. Tool results are a user's turn, as on the Anthropic wire; each wire writes its own."""

    role: Literal["system", "user", "assistant"]
    content: str | list[Block]


class Tool(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Conversation(msgspec.Struct, frozen=True):
    """What is sent: the system prompt (None: none), the turns in order, the tools on offer."""

    messages: list[Message]
    system: str | None = None
    tools: list[Tool] = []


class Cache(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which prefix the provider is asked to keep: breakpoints behind system, tools, the last `turns` user turns."""

    system: bool = False
    tools: bool = False
    turns: int = 0
    ttl: Literal["5m", "1h"] = "5m"


THINKING = ("off", "minimal", "low", "medium", "high", "xhigh")
"""Levels of `Options.thinking`; a number is a budget in tokens."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Words of `Options.effort`: how much work goes into the answer as a whole, thinking included."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is to be answered. None is "not said" and is left out of the request.

    effort          goes to the server as it is, where the model knows the word; it wins over `thinking` where a
                    wire has one field for both
    provider_order  whom a gateway (OpenRouter) asks first; one name alone means that one and no other
    extra_body      laid over the request's body, member by member
    extra_headers   beside the wire's own, which they never replace
    """

    model: str
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    tool_choice: str | None = None  # auto | none | required | a tool's name
    parallel_tool_calls: bool | None = None
    thinking: str | int | None = None
    effort: str | None = None
    response_schema: dict[str, Any] | None = None
    cache: Cache | None = None
    num_ctx: int | None = None
    keep_alive: str | None = None
    provider_order: list[str] | None = None
    extra_body: dict[str, Any] | None = None
    extra_headers: dict[str, str] | None = None


class Dropped(msgspec.Struct, frozen=True):
    """An option that is set and is not sent, or not as it was said. `how` goes on after its name."""

    option: str
    how: str = "is not taken by this model; it was not sent"

    def __str__(self) -> str:
        return f"{self.option} {self.how}"


class Request(msgspec.Struct, frozen=True):
    """An HTTP request without its origin and without its key: the transport adds both.

    `dropped`: the options that it does not hold, or not as they were said; for warnings, or to fail instead.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    dropped: list[Dropped] = []


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
