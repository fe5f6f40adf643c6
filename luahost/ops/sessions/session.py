"""One conversation: whole turns in true order, its system prompt, what it has used, a hash of all that was said.

Turns are only added; trimming and compaction are acts of their own (store.py). So the bytes of every request
begin with those of the one before, which prompt caches live on and newer models insist on (LLM_WIRE.md W20, N7).
Knows no store, no clock, no limit.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from luahost.ops.sessions.turns import Tally, canonical, lost, measure, memory_of, mended, portion, weight
from luahost.parts import Parts
from luahost.wire.events import Usage
from luahost.wire.messages import Message, ToolResultBlock, ToolUseBlock, tool_uses

SESSION_BYTES = 1024
"""What a session takes beside its messages."""


MAX_COUNT = 1 << 53
"""Of tokens, in a session's sums: beyond it a server lies, and Lua's numbers and JSON's are no longer whole."""


class Session:
    """`messages` holds whole turns only; `busy` while a turn is under way; `usage` sums what servers counted.

    `last_tokens` is the input and output of the last exchange as the server counted them, None if it did not or
    the history was cut since. `pending` is what waits for an approval, as JSON objects. Times are seconds since
    1970.
    """

    __slots__ = (
        "_cost",
        "_hash",
        "_hashed",
        "_measured",
        "_tally",
        "busy",
        "created_s",
        "id",
        "last_tokens",
        "messages",
        "pending",
        "system",
        "updated_s",
        "usage",
    )

    def __init__(
        self,
        id: str,
        system: str | None = None,
        messages: Iterable[Message] = (),
        *,
        now_s: float = 0.0,
        json_bytes: int | None = None,
    ) -> None:
        self.id, self.system, self.messages, self.busy = id, system, list(messages), False
        self._cost = weight(self.messages, json_bytes)
        self._tally, self._measured = Tally(), 0  # of so many of its messages
        self.usage: Usage | None = None
        self.last_tokens: int | None = None
        self.pending: list[dict[str, Any]] = []
        self.created_s = self.updated_s = now_s
        self._hash, self._hashed = _begun(system), 0

    def commit(self, system: str | None, turn: Iterable[Message], usage: Usage | None = None) -> None:
        """A turn that succeeded: what was said and what was answered, at once, and as it was sent."""
        before = self.messages[-1:] if self.unanswered() else []
        self._add(mended([*before, *turn])[len(before) :])
        if system != self.system:
            self.system, self._hash, self._hashed = system, _begun(system), 0
        if usage is not None:
            self.usage = total(self.usage, usage)
        self.last_tokens = _exchanged(usage)

    def unanswered(self) -> list[ToolUseBlock]:
        """The calls of the last turn that have no result yet."""
        return tool_uses(self.messages[-1]) if self.messages and self.messages[-1].role == "assistant" else []

    def answer(self, given: list[ToolResultBlock]) -> bool:
        """Answers the calls of the last turn, those without a result with an error; False if none waits."""
        asked = [use.id for use in self.unanswered()]
        if not asked or self.busy:
            return False
        results = {each.tool_use_id: each for each in given}
        self._add([Message("user", [results.get(id) or lost(id) for id in asked])])
        return True

    def rewrite(self, messages: list[Message]) -> None:
        """Another history in place of this one; what was used stays used."""
        self.messages, self.last_tokens = messages, None
        self._cost, self._tally, self._measured = weight(messages), Tally(), 0
        self._hash, self._hashed = _begun(self.system), 0

    def _add(self, messages: list[Message]) -> None:
        self.messages += messages
        tally = measure(messages)
        self._cost += weight(messages, tally.bytes + len(messages) + 1)
        if self._measured + len(messages) == len(self.messages):
            self._tally, self._measured = self._tally + tally, len(self.messages)

    def copy(self, id: str, messages: list[Message] | None, now_s: float) -> Session:
        """A second conversation with the same past, or the part of it that is given. It has used nothing yet."""
        made = Session(id, self.system, now_s=now_s)
        if messages is None:
            made.messages, made._cost = list(self.messages), self._cost
            made._tally, made._measured = self._tally, self._measured
            made.last_tokens, made._hash, made._hashed = self.last_tokens, self._hash.copy(), self._hashed
        else:
            made.messages, made._cost = messages, weight(messages)
        return made

    @property
    def tally(self) -> Tally:
        """The size of its messages, counted when first asked for."""
        if self._measured < len(self.messages):
            self._tally += measure(self.messages[self._measured :])
            self._measured = len(self.messages)
        return self._tally

    def counting(self) -> Parts[None]:
        """Counts and hashes all that has not been yet, some at a time: what is asked afterwards is known."""
        while self._measured < len(self.messages):
            some = portion(self.messages, self._measured)
            self._tally, self._measured = self._tally + measure(some), self._measured + len(some)
            yield
        while self._hashed < len(self.messages):
            some = portion(self.messages, self._hashed)
            feed(self._hash, some)
            self._hashed += len(some)
            yield

    @property
    def cost(self) -> int:
        """Bytes it takes in the host, about; never less than its dump."""
        extra = memory_of(self.pending) if self.pending else 0
        return SESSION_BYTES + 4 * len(self.id) + sys.getsizeof(self.system) + self._cost + extra

    @property
    def tokens(self) -> int:
        """Of the next request, about: as the server counted the last exchange, or a quarter of the bytes."""
        return self.last_tokens if self.last_tokens is not None else self.tally.tokens + len(self.system or "") // 4

    def should_compact(self, threshold: int | None) -> bool:
        """Whether the conversation has reached this many tokens; never without a threshold."""
        return threshold is not None and self.tokens >= threshold

    def prefix_sha256(self) -> str:
        """Of the system prompt and each message, as canonical JSON and a line end: only ever grows at its end."""
        feed(self._hash, self.messages[self._hashed :])
        self._hashed = len(self.messages)
        digest: str = self._hash.hexdigest()  # may be fed on afterwards
        return digest

    def prefix_of(self, count: int) -> Parts[str]:
        """The same of the first `count` messages only."""
        hash, messages, at = _begun(self.system), self.messages[:count], 0
        while at < count:
            some = portion(messages, at)
            feed(hash, some)
            at += len(some)
            yield
        digest: str = hash.hexdigest()
        return digest


def feed(hash: Any, messages: Iterable[Message]) -> None:
    for message in messages:
        hash.update(canonical(message) + b"\n")


def _begun(system: str | None) -> Any:
    return hashlib.sha256(b"" if system is None else canonical(Message("system", system)) + b"\n")


def _exchanged(usage: Usage | None) -> int | None:
    if usage is None or (usage.input is None and usage.output is None):
        return None if usage is None else usage.total
    return (usage.input or 0) + (usage.output or 0)


def total(one: Usage | None, other: Usage) -> Usage:
    """The sum, which is never more than a dump may say; what neither said stays unsaid."""
    if one is None:
        one = Usage()
    sums = {}
    for name in Usage.__struct_fields__:
        said = [value for value in (getattr(one, name), getattr(other, name)) if value is not None]
        sums[name] = min(sum(said), MAX_COUNT) if said else None
    return Usage(**sums)


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a list of sessions says about one. `tokens` is about what its next request takes, before the prompt."""

    id: str
    messages: int
    turns: int
    bytes: int
    tokens: int
    system: bool
    busy: bool
    created_s: float
    updated_s: float
    prefix_sha256: str
    usage: Usage | None = None


def described(session: Session) -> SessionInfo:
    return SessionInfo(
        id=session.id,
        messages=len(session.messages),
        turns=session.tally.turns,
        bytes=session.tally.bytes,
        tokens=session.tokens,
        system=session.system is not None,
        busy=session.busy,
        created_s=session.created_s,
        updated_s=session.updated_s,
        prefix_sha256=session.prefix_sha256(),
        usage=session.usage,
    )


def readable(session: Session) -> Parts[dict[str, Any]]:
    """{id, system_prompt?, messages, …} as plain values. What a provider wants back is its own, and is left out."""
    yield from session.counting()
    about = msgspec.to_builtins(described(session))
    messages: list[dict[str, Any]] = []
    whole = list(session.messages)
    while len(messages) < len(whole):
        some = portion(whole, len(messages))
        messages += [{"role": message.role, "content": _plain(message)} for message in some]
        yield
    return {**about, "system_prompt": session.system, "messages": messages}


def _plain(message: Message) -> Any:
    if isinstance(message.content, str):
        return message.content
    blocks = msgspec.to_builtins(message.content, builtin_types=(bytes,))
    for block in blocks:
        block.pop("state", None)
    return blocks
