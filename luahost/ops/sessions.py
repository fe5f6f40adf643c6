"""The sessions of one VM: conversations by id, kept in the host, append-only, committed whole or not at all.

Dumped as the upstream's JSON, {"sess-…": [{"role", "content"}, …]}, the system prompt as the first message; a
dump that is loaded and dumped again is the same text. A load is checked as a whole before anything changes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from luahost.errors import ConfigError
from luahost.wire.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock, tool_uses

MAX_BYTES = 64 * 1024 * 1024
MAX_SESSIONS = 10_000
ID_BYTES = 200
VERSION = 1

Mode = Literal["merge", "replace", "skip"]


class Session:
    """One conversation. `messages` holds whole turns only; `busy` while a turn is under way."""

    __slots__ = ("busy", "id", "messages", "system")

    def __init__(self, id: str, system: str | None = None, messages: Iterable[Message] = ()) -> None:
        self.id, self.system, self.messages, self.busy = id, system, list(messages), False

    def commit(self, system: str | None, turn: Iterable[Message]) -> None:
        """A turn that succeeded: what was said and what was answered, at once."""
        self.system = system
        self.messages.extend(turn)

    def unanswered(self) -> list[ToolUseBlock]:
        """The calls of the last turn that have no result yet."""
        return tool_uses(self.messages[-1]) if self.messages and self.messages[-1].role == "assistant" else []

    def answer(self, given: list[ToolResultBlock]) -> bool:
        """Answers the calls of the last turn, those without a result with an error; False if none waits."""
        asked = [use.id for use in self.unanswered()]
        if not asked or self.busy:
            return False
        results = {each.tool_use_id: each for each in given}
        self.messages.append(Message("user", [results.get(id) or _lost(id) for id in asked]))
        return True


class Store:
    """All sessions of one VM."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, id: str | None) -> Session:
        """The session of this id, or a new one that is stored by keep(). None or "" makes an id."""
        if not id:
            return Session(f"sess-{uuid.uuid4()}")
        return self._sessions.get(id) or Session(id)

    @contextmanager
    def turn_of(self, session: Session) -> Iterator[None]:
        """Marks the session busy for one turn. A session that stays empty is not kept."""
        self._sessions[session.id] = session
        session.busy = True
        try:
            yield
        finally:
            session.busy = False
            if not session.messages and self._sessions.get(session.id) is session:
                del self._sessions[session.id]

    def full(self, session: Session) -> bool:
        return session.id not in self._sessions and len(self._sessions) >= MAX_SESSIONS

    def dump(self) -> str:
        """All sessions as JSON text."""
        dumped = {}
        for id, session in self._sessions.items():
            system = [Message("system", session.system)] if session.system is not None else []
            dumped[id] = system + session.messages
        return msgspec.json.encode(dumped).decode()

    def load(self, text: str | bytes, mode: Mode = "replace") -> int:
        """Takes sessions from a dump; how many were taken. ConfigError, and nothing changed, if it is none.

        replace: the store becomes the dump. merge: sessions of the dump win. skip: sessions that are here win.
        Accepts the bare form and {"version": 1, "sessions": {…}}.
        """
        if mode not in ("merge", "replace", "skip"):
            raise ConfigError(f'mode: "merge", "replace" or "skip" expected, got {mode!r}')
        loaded = parse_dump(text)
        for id, session in self._sessions.items():
            if session.busy and (mode == "replace" or (mode == "merge" and id in loaded)):
                raise ConfigError(f"session {id!r} has a turn under way and cannot be replaced now")
        if mode == "replace":
            self._sessions = loaded
            return len(loaded)
        taken = {id: s for id, s in loaded.items() if mode == "merge" or id not in self._sessions}
        if len(self._sessions.keys() | taken.keys()) > MAX_SESSIONS:
            raise ConfigError(f"sessions: at most {MAX_SESSIONS} expected")
        self._sessions.update(taken)
        return len(taken)


_any = msgspec.json.Decoder(dict[str, Any])


def parse_dump(text: str | bytes) -> dict[str, Session]:
    """The sessions in a dump, each checked and mended; ConfigError for anything that is no dump."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"sessions: at most {MAX_BYTES} bytes of JSON expected, got {len(text)}")
    try:
        raw = _any.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"sessions: a JSON object of sessions expected: {error}") from None
    if "version" in raw and not isinstance(raw["version"], list):
        if raw["version"] != VERSION or isinstance(raw["version"], bool):
            raise ConfigError(f"sessions: version {VERSION} expected, got {raw['version']!r}")
        raw = raw.get("sessions", {})
        if not isinstance(raw, dict):
            raise ConfigError('sessions: an object under "sessions" expected')
    if len(raw) > MAX_SESSIONS:
        raise ConfigError(f"sessions: at most {MAX_SESSIONS} expected, got {len(raw)}")
    return {id: _session(id, value) for id, value in raw.items()}


def _session(id: str, value: Any) -> Session:
    if not id or len(id.encode()) > ID_BYTES:
        raise ConfigError(f"sessions: an id of 1 to {ID_BYTES} bytes expected, got {id[:80]!r}")
    try:
        messages = msgspec.convert(value, list[Message])
    except msgspec.ValidationError as error:
        raise ConfigError(f"sessions: {id!r}: {error}") from None
    system = None
    if messages and messages[0].role == "system":
        content = messages[0].content
        if not isinstance(content, str):
            content = "".join(block.text for block in content if isinstance(block, TextBlock))
        system = content
        messages = messages[1:]
    if any(message.role == "system" for message in messages):
        raise ConfigError(f"sessions: {id!r}: a system message anywhere but first")
    return Session(id, system, mended(messages))


def mended(messages: list[Message]) -> list[Message]:
    """The same turns with every tool call answered and every tool result asked for.

    A call without a result gets an error result (not for the last turn, which may still be answered); a result
    without a call is dropped. Servers refuse a whole conversation for either.
    """
    result: list[Message] = []
    for message in messages:
        asked = [use.id for use in tool_uses(result[-1])] if result and result[-1].role == "assistant" else []
        given = _results(message)
        if asked and message.role != "user":
            result.append(Message("user", [_lost(id) for id in asked]))
            asked = []
        if not asked and not given:
            result.append(message)
            continue
        kept = [block for block in given if block.tool_use_id in asked]
        have = {block.tool_use_id for block in kept}
        blocks: list[Any] = [*kept, *(_lost(id) for id in asked if id not in have)]
        blocks += _others(message)
        if blocks:
            result.append(Message(message.role, blocks))
    return result


def _results(message: Message) -> list[ToolResultBlock]:
    if isinstance(message.content, str):
        return []
    return [block for block in message.content if isinstance(block, ToolResultBlock)]


def _others(message: Message) -> list[Any]:
    if isinstance(message.content, str):
        return [TextBlock(message.content)] if message.content else []
    return [block for block in message.content if not isinstance(block, ToolResultBlock)]


def _lost(id: str) -> ToolResultBlock:
    return ToolResultBlock(id, "no result: the call was never answered", True)
