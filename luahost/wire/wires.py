"""The wires by name: what is written and what reads the answer to it, and the header that carries a key.

A wire is imported when a provider that speaks it is first called. Knows no provider but by the name of a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Protocol

import msgspec

from luahost.wire.events import Event
from luahost.wire.messages import Conversation, Dropped, Options, Request

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


class Exchange:
    """One request and what reads its answer; what was written in the wire's own way is read back by the same."""

    def __init__(self, request: Request, module: ModuleType, model: str) -> None:
        self.request = request
        self._module, self._model = module, model

    def decoder(self, *, status: int, headers: Mapping[str, str], now_s: float) -> Decoder:
        """A new one for each attempt."""
        made: Decoder = self._module.Decoder(
            status=status,
            content_type=headers.get("content-type", ""),
            headers=headers,
            model=self._model,
            now_s=now_s,
        )
        return made


class Wire:
    """How requests are written and answers read for one provider."""

    def __init__(self, name: str, provider: str) -> None:
        self._module = import_module(f"luahost.wire.{name}")
        # The dialect of the vendor itself, or what every server that speaks the wire understands.
        dialects = {"openai": "OPENAI" if provider == "openai" else "COMPATIBLE", "anthropic": "ANTHROPIC"}
        self._dialect = getattr(self._module, dialects[name]) if name in dialects else None

    def exchange(self, conversation: Conversation, options: Options) -> Exchange:
        """The conversation as a request, with what reads the answer to it."""
        request: Request = self._module.encode(conversation, options, dialect=self._dialect)
        dropped = [Dropped(name) for name in self._module.dropped_options(options, dialect=self._dialect)]
        return Exchange(msgspec.structs.replace(request, dropped=dropped), self._module, options.model)

    def auth_headers(self, key: str | None) -> dict[str, str]:
        """The headers that carry the key; none without one."""
        headers: dict[str, str] = {} if key is None else self._module.auth_headers(key)
        return headers


@cache
def wire(name: str, provider: str) -> Wire:
    """The wire of this name as this provider speaks it."""
    return Wire(name, provider)
