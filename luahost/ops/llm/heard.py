"""What a server's events add up to, and how each is told to a script: pure, knows no session and no gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from luahost.wire.events import (
    End,
    Event,
    Image,
    Keep,
    Refusal,
    Retry,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from luahost.wire.messages import Block, ImageBlock, Message, TextBlock, ToolUseBlock


class Heard:
    """What has come so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.refusal: list[str] = []
        self.images: list[ImageBlock] = []
        self.calls: list[ToolCall] = []
        self.parts: list[list[str] | Image | ToolCall | Keep] = []  # what the history stores, in the order it came
        self._said: list[str] = []  # the last of them, if it is text
        self.usage: Usage | None = None
        self.model: str | None = None
        self.end: End | None = None
        self.first_s: float | None = None  # when the first content came
        self.stopped = False  # by the script

    def take(self, event: Event) -> int:
        """Adds the event; how many bytes of answer it is, about."""
        if isinstance(event, Text):
            if self.first_s is None:
                self.first_s = self._clock()
            self.text.append(event.text)
            if not self._said:
                self.parts.append(self._said)
            self._said.append(event.text)
            return len(event.text)
        if self.first_s is None and isinstance(event, Thinking | Image | ToolCall | Refusal):
            self.first_s = self._clock()
        if isinstance(event, Image | ToolCall | Keep):
            self.parts.append(event)
            self._said = []
        if isinstance(event, Thinking):
            self.thinking.append(event.text)
            return len(event.text)
        if isinstance(event, ToolCall):
            self.calls.append(event)
            return len(event.raw) + len(event.name)
        if isinstance(event, Refusal):
            self.refusal.append(event.text)
            return len(event.text)
        if isinstance(event, Image):
            self.images.append(event.block)
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Start):
            self.model = event.model or None
        elif isinstance(event, End):
            self.end = event
        return 0

    @property
    def answered(self) -> bool:
        """Whether anything of an answer came, or came to a good end."""
        return self.first_s is not None or (self.end is not None and self.end.failure is None)

    @property
    def unreadable(self) -> bool:
        """Whether the answer is whole, and failed only because the arguments of a call are not one JSON object."""
        failure = self.end.failure if self.end is not None else None
        if failure is None or failure.kind != "malformed_tool_call":
            return False
        return any(call.arguments is None for call in self.calls) and all(call.name for call in self.calls)

    def turn(self) -> Message:
        """The assistant's turn as it is stored. A call cut off by the length limit is not, nor one that the
        script did not wait for. One with unreadable arguments stands without any; its result says why."""
        blocks: list[Block] = []
        text: list[str] = []

        def flush() -> None:
            if text:
                blocks.append(TextBlock("".join(text)))
                text.clear()

        for part in self.parts:
            if isinstance(part, list):
                text += part
            elif isinstance(part, Keep | Image):
                if isinstance(part.block, TextBlock):  # it stands for the text just given out: not twice
                    said = "".join(text).removesuffix(part.block.text)
                    text[:] = [said] if said else []
                flush()
                blocks.append(part.block)
            elif (part.arguments is not None or self.unreadable) and not self.stopped:
                flush()
                blocks.append(ToolUseBlock(part.id, part.name, part.arguments or {}, part.state))
        flush()
        if all(isinstance(block, TextBlock) and block.state is None for block in blocks):
            return Message("assistant", "".join(self.text))
        return Message("assistant", blocks)


def picture(block: ImageBlock) -> dict[str, Any]:
    """An image as scripts see it: {media_type, data = bytes} or {media_type, url}."""
    return {"media_type": block.media_type, **({"url": block.url} if block.url else {"data": block.data})}


def told(event: Event) -> dict[str, Any] | None:
    """An event as on_event gets it, {type = …}; None for what is for the history alone."""
    match event:
        case Text() | Thinking() | Refusal():
            return {"type": type(event).__name__.lower(), "text": event.text}
        case ToolCall():
            call: dict[str, Any] = {"type": "tool_call", "id": event.id, "name": event.name}
            return call | ({"raw": event.raw} if event.arguments is None else {"params": event.arguments})
        case Image():
            return {"type": "image", **picture(event.block)}
        case Usage():
            return {"type": "usage", **msgspec.to_builtins(event)}
        case Start():
            return {"type": "start", "model": event.model, **({"id": event.id} if event.id else {})}
        case Retry():
            failure = event.failure
            return {
                "type": "retry",
                "attempt": event.attempt,
                "wait_s": event.wait_s,
                "error_kind": failure.kind,
                "error": failure.message,
            }
        case End():
            end: dict[str, Any] = {"type": "end", "stop_reason": event.stop_reason}
            if event.failure is not None:
                end |= {"error_kind": event.failure.kind, "error": event.failure.message}
            return end
        case _:
            return None
