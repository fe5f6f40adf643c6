"""The wires by name: one pair of verbs for each, encode and a decoder, and the header that carries a key.

A wire is imported when a provider that speaks it is first called. Knows no provider but by the name of a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Protocol

from luahost.wire.events import Event
from luahost.wire.messages import Conversation, Options, Request

NAMES = ("openai", "anthropic", "gemini", "ollama")
"""The wires that are spoken."""


class Decoder(Protocol):
    """What every wire's decoder is: fed bytes, it gives events, `End` last; it never raises."""

    ended: bool
    started_content: bool

    @property
    def answered(self) -> bool: ...
    def feed(self, data: bytes) -> list[Event]: ...
    def close(self, dropped: bool = False) -> list[Event]: ...


class Wire:
    """How requests are written and answers read for one provider."""

    def __init__(self, name: str, provider: str) -> None:
        self._module = import_module(f"luahost.wire.{name}")
        # The dialect of the vendor itself, or what every server that speaks the wire understands.
        dialects = {"openai": "OPENAI" if provider == "openai" else "COMPATIBLE", "anthropic": "ANTHROPIC"}
        self._dialect = getattr(self._module, dialects[name]) if name in dialects else None

    def encode(self, conversation: Conversation, options: Options) -> Request:
        request: Request = self._module.encode(conversation, options, dialect=self._dialect)
        return request

    def dropped_options(self, options: Options) -> list[str]:
        """Options that are set and will not be sent, because the model does not take them."""
        dropped: list[str] = self._module.dropped_options(options, dialect=self._dialect)
        return dropped

    def auth_headers(self, key: str | None) -> dict[str, str]:
        """The headers that carry the key; none without one."""
        headers: dict[str, str] = {} if key is None else self._module.auth_headers(key)
        return headers

    def decoder(self, *, status: int, headers: Mapping[str, str], model: str, now_s: float) -> Decoder:
        made: Decoder = self._module.Decoder(
            status=status,
            content_type=headers.get("content-type", ""),
            headers=headers,
            model=model,
            now_s=now_s,
        )
        return made


@cache
def wire(name: str, provider: str) -> Wire:
    """The wire of this name as this provider speaks it."""
    return Wire(name, provider)
