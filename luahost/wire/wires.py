"""The wires by name: what is written and what reads the answer to it, and the header that carries a key.

What every wire needs alike stands here, around it: tool names in the letters that it takes, a schema as a tool
where it has no word for one, what cannot be said at all. An `Exchange` holds both ends, so none of it is seen
outside.

A wire is imported when a provider that speaks it is first called. Knows no provider but by the name of a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec

from luahost.wire import models, schema_tool, tool_names
from luahost.wire.decoder import Around, Decoder
from luahost.wire.events import Event, ToolCall
from luahost.wire.messages import Conversation, Dropped, Options, Request
from luahost.wire.models import SHIPPED, Models

__all__ = ["NAMES", "Decoder", "Exchange", "Wire", "wire"]

NAMES = ("openai", "openai-responses", "anthropic", "gemini", "ollama")
"""The wires that are spoken."""

_TOOL_NAMES = {"gemini": tool_names.GEMINI}  # the others take what OpenAI takes


class Exchange:
    """One request and what reads its answer; what was written in the wire's own way is read back by the same."""

    def __init__(self, spoken: _Spoken, conversation: Conversation, options: Options) -> None:
        dropped = _without_tools(conversation, options)
        taken = _TOOL_NAMES.get(spoken.name, tool_names.OPENAI)
        names = tool_names.Names(taken, tool_names.names_in(conversation))
        self._names = names.back
        conversation, options = names.out(conversation, options)
        self._schema = options.response_schema
        self._tool: str | None = None
        if self._schema is not None and not spoken.takes_schema(conversation, options):
            conversation, options, self._tool = schema_tool.ask(conversation, options)
        self._spoken, self._model = spoken, options.model
        request = spoken.encode(conversation, options)
        self.request = msgspec.structs.replace(request, dropped=_once(dropped + request.dropped))

    def decoder(self, *, status: int, headers: Mapping[str, str], now_s: float) -> Decoder:
        """A new one for each attempt."""
        made: Decoder = self._spoken.module.Decoder(
            status=status,
            content_type=headers.get("content-type", ""),
            headers=headers,
            model=self._model,
            now_s=now_s,
        )
        if self._tool is not None:
            made = schema_tool.Reader(made, self._tool, self._schema or {})
        return _Renamed(made, self._names) if self._names else made


def _without_tools(conversation: Conversation, options: Options) -> list[Dropped]:
    if conversation.tools:
        return []
    dropped = []
    if options.tool_choice not in (None, "auto", "none"):
        dropped.append(Dropped("tool_choice", "needs tools; it was not sent"))
    if options.parallel_tool_calls is not None:
        dropped.append(Dropped("parallel_tool_calls", "needs tools; it was not sent"))
    return dropped


def _once(dropped: list[Dropped]) -> list[Dropped]:
    """The first word on an option counts."""
    found: dict[str, Dropped] = {}
    for each in dropped:
        found.setdefault(f"{each}" if each.option == "extra_headers" else each.option, each)
    return list(found.values())


class _Renamed(Around):
    """A decoder whose calls have the names that their tools have."""

    def __init__(self, decoder: Decoder, back: Mapping[str, str]) -> None:
        super().__init__(decoder)
        self._back = back

    def _read(self, events: list[Event]) -> list[Event]:
        return [self._renamed(event) for event in events]

    def _renamed(self, event: Event) -> Event:
        if not isinstance(event, ToolCall) or event.name not in self._back:
            return event
        return msgspec.structs.replace(event, name=self._back[event.name])


class _Spoken:
    """One wire's module, with the dialect it is spoken in."""

    def __init__(self, name: str, provider: str, tables: Models) -> None:
        self.name = name
        self.module: ModuleType = import_module(f"luahost.wire.{name.replace('-', '_')}")
        self.dialect = _dialect(self.module, name, provider, tables)

    def takes_schema(self, conversation: Conversation, options: Options) -> bool:
        takes: bool = self.module.takes_schema(conversation, options, dialect=self.dialect)
        return takes

    def encode(self, conversation: Conversation, options: Options) -> Request:
        request: Request = self.module.encode(conversation, options, dialect=self.dialect)
        return request


def _dialect(module: ModuleType, name: str, provider: str, tables: Models) -> Any:
    """The vendor's own, or what every server that speaks the wire understands; with what its models take."""
    if name in ("openai", "openai-responses"):
        from luahost.wire.openai_dialects import OPENAI, dialect_of

        dialect = OPENAI if name == "openai-responses" else dialect_of(provider)
        return msgspec.structs.replace(dialect, facts=tables.openai if dialect.official else tables.compatible)
    if name == "ollama":
        return None
    facts = tables.anthropic if name == "anthropic" else tables.gemini
    return module.Dialect(facts=facts)


class Wire:
    """How requests are written and answers read for one provider."""

    def __init__(self, name: str, provider: str, tables: Models = SHIPPED) -> None:
        self._spoken = _Spoken(name, provider, tables)
        official = name == "openai" and self._spoken.dialect.official
        self._other = _Spoken("openai-responses", provider, tables) if official else None

    def exchange(self, conversation: Conversation, options: Options) -> Exchange:
        """The conversation as a request, with what reads the answer to it."""
        return Exchange(self._for(conversation, options), conversation, options)

    def _for(self, conversation: Conversation, options: Options) -> _Spoken:
        """OpenAI has two wires, and some of its models answer on one of them only (W8)."""
        other = self._other
        if other is not None:
            facts: models.Gpt = self._spoken.dialect.facts.facts(options.model)
            if facts.responses == "always" or (facts.responses == "tools" and conversation.tools):
                return other
        return self._spoken

    @property
    def models_path(self) -> str:
        """A GET of it lists the models."""
        path: str = self._spoken.module.models_path
        return path

    def auth_headers(self, key: str | None) -> dict[str, str]:
        """The headers that carry the key; none without one."""
        headers: dict[str, str] = {} if key is None else self._spoken.module.auth_headers(key)
        return headers


@lru_cache(maxsize=256)  # each configuration brings tables of its own
def wire(name: str, provider: str, tables: Models = SHIPPED) -> Wire:
    """The wire of this name as this provider speaks it; `tables`: what its models take."""
    return Wire(name, provider, tables)
