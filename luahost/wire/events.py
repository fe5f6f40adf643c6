"""The one vocabulary every wire's decoder speaks.

    Retry*  Start  (Text | Thinking | Refusal | Image | ToolCall | Keep | Usage)*  End

`End` comes exactly once and last; what failed, if anything did, is in `End.failure`. A decoder never
raises: whatever bytes come, the answer is events. Knows no wire, no clock, no session.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from luahost.wire.messages import ImageBlock, State, TextBlock, ThinkingBlock

StopReason = Literal[
    "end_turn",
    "tool_use",
    "max_tokens",
    "stop_sequence",
    "refusal",
    "content_filter",
    "context_limit",
    "pause",
    "malformed_tool_call",
    "error",
    "stream_incomplete",
]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an exchange failed, in the kinds scripts see.

    `retryable` says that the same request may succeed later; whether it is retried is `wire.retry`'s
    decision. `retry_after_s` is the server's own wish in seconds.
    """

    kind: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None
    status: int | None = None
    provider_code: str | None = None
    param: str | None = None
    phase: str | None = None  # of a time-out: connect, first_token, idle, overall


class Start(msgspec.Struct, frozen=True):
    """The server began to answer: its own name for the model, and its id of the answer ("" if none)."""

    model: str
    id: str = ""


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer's text; never empty."""

    text: str


class Thinking(msgspec.Struct, frozen=True):
    """A piece of the model's visible reasoning; never empty."""

    text: str


class Refusal(msgspec.Struct, frozen=True):
    """A piece of the model's own words on why it will not answer; never empty. `End` has the failure."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """A picture the model made: bytes with their MIME type, or a URL. The block is what the history stores."""

    block: ImageBlock


class ToolCall(msgspec.Struct, frozen=True):
    """One complete call the model asks for.

    `arguments` is the parsed object; None when the text in `raw` is not one JSON object, and then the
    call must not be run. No text at all means `{}`. `state` is what the provider wants back with the call.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    state: State | None = None


class Keep(msgspec.Struct, frozen=True):
    """A block to store at this place of the turn and to echo as it is: reasoning with its signature.

    Its text was already given out as Thinking (or Text); this is for the history only.
    """

    block: ThinkingBlock | TextBlock


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the server counted them, the last word wins; None is "not said", which is not 0.

    `input` includes `cache_read` and `cache_write`; `output` includes `reasoning`. `cost_usd` only
    where the server itself says it.
    """

    input: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    total: int | None = None
    cost_usd: float | None = None


class Retry(msgspec.Struct, frozen=True):
    """Attempt number `attempt` failed; the next one begins in `wait_s` seconds. Made by the retry layer."""

    attempt: int
    wait_s: float
    failure: Failure


class End(msgspec.Struct, frozen=True):
    """The exchange is over. `raw_reason` is the wire's own word; `failure` is None when it succeeded.

    The stop reasons refusal, content_filter, context_limit, malformed_tool_call, error and
    stream_incomplete always carry a failure.
    """

    stop_reason: StopReason
    raw_reason: str | None = None
    failure: Failure | None = None


Event = Start | Text | Thinking | Refusal | Image | ToolCall | Keep | Usage | Retry | End

SHOWN = (Text, Thinking, Refusal, Image, ToolCall)
"""What a script can see: once one of these is out, a retry would repeat it."""


def joined(events: list[Event]) -> list[Event]:
    """The same events with neighbouring texts in one: for whoever has no use for the pieces."""
    made: list[Event] = []
    texts: list[str] = []
    for event in events:
        if type(event) is Text:
            texts.append(event.text)
            continue
        if texts:
            made.append(Text("".join(texts)))
            texts.clear()
        made.append(event)
    if texts:
        made.append(Text("".join(texts)))
    return made
