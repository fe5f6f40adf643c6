"""Sessions as text and back.

Two forms. The upstream's, {"sess-…": [{"role", "content"}, …]}, with the system prompt as the first message; and
the full one, {"version": 1, "sessions": {"sess-…": {"messages": […], "system"?, "usage"?, …}}}, which also keeps
what a session has used, its times, and what waits for an approval. Both load; either comes back as the same text.

A dump comes from a disk or from a script: nothing in it is believed. It is checked as a whole and mended before
anything of it is used. Provider state (signatures, encrypted reasoning) passes through; only the wire that it
names will ever send it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.ops.sessions.session import MAX_COUNT, Session
from luahost.ops.sessions.turns import PORTION_BYTES, PORTION_NODE, mended
from luahost.parts import Parts
from luahost.values import MAX_DEPTH, deeper_than
from luahost.wire.events import Usage
from luahost.wire.lenient import is_heavy
from luahost.wire.messages import Message, ToolResultBlock, ToolUseBlock, text_of

MAX_BYTES = 64 * 1024 * 1024
MAX_SESSIONS = 10_000
ID_CHARACTERS = 200
MAX_BLOCKS = 20_000
"""Of messages and blocks in one session; its cost says nearly the same once it is read."""
VERSION = 1

_ID = re.compile(rf"[^\x00-\x1f\x7f]{{1,{ID_CHARACTERS}}}")


class _Stored(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """A session in the full form."""

    messages: list[Message]
    system: str | None = None
    usage: Usage | None = None
    last_tokens: int | None = None
    created_s: float = 0.0
    updated_s: float = 0.0
    pending: list[dict[str, Any]] = []


_encode = msgspec.json.Encoder().encode
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_bare = msgspec.json.Decoder(list[Message])
_full = msgspec.json.Decoder(_Stored)
_PROBLEMS = (msgspec.DecodeError, RecursionError, UnicodeError)


def valid_id(id: str) -> bool:
    """1 to 200 characters, none of them a control character."""
    return _ID.fullmatch(id) is not None


def dump(sessions: Iterable[Session], *, full: bool) -> str:
    """JSON text in the full form, or in the upstream's."""
    if full:
        return _encode({"version": VERSION, "sessions": {each.id: _stored(each) for each in sessions}}).decode()
    dumped = {}
    for session in sessions:
        system = [Message("system", session.system)] if session.system is not None else []
        dumped[session.id] = system + session.messages
    return _encode(dumped).decode()


def _stored(session: Session) -> _Stored:
    return _Stored(
        messages=session.messages,
        system=session.system,
        usage=session.usage,
        last_tokens=session.last_tokens,
        created_s=session.created_s,
        updated_s=session.updated_s,
        pending=session.pending,
    )


def parsing(text: str | bytes, now_s: float) -> Parts[dict[str, Session]]:
    """The sessions in a dump, each checked and mended; ConfigError for anything that is no dump."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"sessions: at most {MAX_BYTES} bytes of JSON expected, got {len(text)}")
    raw = _object(text, "a JSON object of sessions")
    yield
    if "version" in raw and not bytes(raw["version"]).startswith(b"["):
        version = bytes(raw["version"])
        if version != b"%d" % VERSION:
            raise ConfigError(f"sessions: version {VERSION} expected, got {version[:40].decode(errors='replace')}")
        raw = _object(raw.get("sessions", b"{}"), 'an object under "sessions"')
        yield
    if len(raw) > MAX_SESSIONS:
        raise ConfigError(f"sessions: at most {MAX_SESSIONS} expected, got {len(raw)}")
    sessions: dict[str, Session] = {}
    since = 0
    for id, value in raw.items():
        since += PORTION_NODE + len(memoryview(value))
        if since > PORTION_BYTES:
            since = 0
            yield
        sessions[id] = yield from _session(id, value, now_s)
    yield
    return sessions


def _object(text: str | bytes | msgspec.Raw, wanted: str) -> dict[str, msgspec.Raw]:
    try:
        return _parts.decode(text)
    except _PROBLEMS as error:
        raise ConfigError(f"sessions: {wanted} expected: {error}") from None


def _session(id: str, raw: msgspec.Raw, now_s: float) -> Parts[Session]:
    if not valid_id(id):
        raise ConfigError(
            f"sessions: an id of 1 to {ID_CHARACTERS} characters, no control characters, expected, got {id[:80]!r}"
        )
    text = bytes(raw)
    if len(text) > PORTION_BYTES:
        yield
    heavy = is_heavy(text)
    if len(text) > PORTION_BYTES:
        yield
    may_be_many = len(text) > 8 * MAX_BLOCKS  # a shorter text has no room for so many
    if heavy or (may_be_many and text.count(b'"role"') + text.count(b'"type"') > MAX_BLOCKS):
        raise ConfigError(f"sessions: {id!r}: at most {MAX_BLOCKS} messages and blocks expected", kind="too_large")
    if len(text) > PORTION_BYTES:
        yield
    try:
        if text[:1] == b"{":
            stored = _full.decode(raw)
        else:
            messages = _bare.decode(raw)
            first = messages[0] if messages and messages[0].role == "system" else None
            stored = _Stored(
                messages=messages if first is None else messages[1:],
                system=None if first is None else text_of(first),
                created_s=now_s,
                updated_s=now_s,
            )
    except _PROBLEMS as error:
        raise ConfigError(f"sessions: {id!r}: {error}") from None
    if len(text) > PORTION_BYTES:
        yield
    problem = _problem(stored)
    if problem is not None:
        raise ConfigError(f"sessions: {id!r}: {problem}")
    messages = mended(stored.messages)
    size = len(text) if messages == stored.messages else None
    session = Session(id, stored.system, messages, json_bytes=size)
    session.usage, session.last_tokens, session.pending = stored.usage, stored.last_tokens, stored.pending
    session.created_s, session.updated_s = stored.created_s, stored.updated_s
    return session


def _problem(stored: _Stored) -> str | None:
    """What the shapes do not say."""
    counts = [stored.last_tokens, *(() if stored.usage is None else msgspec.structs.astuple(stored.usage))]
    if any(count is not None and not 0 <= count <= MAX_COUNT for count in counts):
        return f"counts from 0 to {MAX_COUNT} expected in its usage"
    if deeper_than(stored.pending, MAX_DEPTH):
        return f"nested at most {MAX_DEPTH} deep expected"
    for message in stored.messages:
        if message.role == "system":
            return "a system message anywhere but first"
        for block in () if isinstance(message.content, str) else message.content:
            if isinstance(block, ToolUseBlock) and deeper_than(block.input, MAX_DEPTH):
                return f"arguments nested at most {MAX_DEPTH} deep expected"
            state = None if isinstance(block, ToolResultBlock) else block.state
            if state is not None and not isinstance(state.get("wire"), str):
                return "a state that names its wire expected"
            if deeper_than(state, MAX_DEPTH):
                return f"a state nested at most {MAX_DEPTH} deep expected"
    return None
