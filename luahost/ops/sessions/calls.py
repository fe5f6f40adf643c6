"""What a script may ask about its own sessions: the acts behind orcs.llm_sessions. None needs a grant.

Every no is a value. An answer that could not enter the VM is refused before it is made, so that asking for it
again and again costs the host nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec

from luahost.errors import LuahostError
from luahost.ops import results
from luahost.ops.results import Result
from luahost.ops.sessions.session import described, readable
from luahost.ops.sessions.store import Mode
from luahost.ops.sessions.turns import as_text, measure, portion
from luahost.ops.world import Share
from luahost.parts import Parts
from luahost.wire.messages import ToolResultBlock

LISTED_AT_ONCE = 200
LISTED_BYTES = 200
"""What a session takes in a list, at least."""


class DumpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    full: bool = False
    ids: list[str] | None = None


class DumpArgs(msgspec.Struct, frozen=True):
    opts: DumpOptions = DumpOptions()


class LoadOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: Mode = "replace"


class LoadArgs(msgspec.Struct, frozen=True):
    json: str
    opts: LoadOptions = LoadOptions()


class ToolResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a call of the model's, as scripts give it: {id, content, is_error}."""

    id: str
    content: str
    is_error: bool = False

    def block(self) -> ToolResultBlock:
        return ToolResultBlock(self.id, self.content, self.is_error)


class AnswerArgs(msgspec.Struct, frozen=True):
    session_id: str
    tool_results: list[ToolResult]


class IdArgs(msgspec.Struct, frozen=True):
    id: str


class ForkOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    new_id: str | None = None
    at_turn: int | None = None


class ForkArgs(msgspec.Struct, frozen=True):
    id: str
    opts: ForkOptions = ForkOptions()


class TrimOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_messages: int | None = None
    max_tokens: int | None = None


class TrimArgs(msgspec.Struct, frozen=True):
    id: str
    opts: TrimOptions = TrimOptions()


class OlderArgs(msgspec.Struct, frozen=True):
    id: str
    keep_turns: int


class CondenseArgs(msgspec.Struct, frozen=True):
    id: str
    count: int
    prefix_sha256: str
    summary: str


def _told(act: Callable[[Share, Any], Any]) -> Callable[[Share, Any], Any]:
    """An act whose refusals are values."""

    @wraps(act)
    def told(share: Share, args: Any) -> Any:
        try:
            return act(share, args)
        except LuahostError as error:
            return _no(error)

    return told


def _in_parts(act: Callable[[Share, Any], Parts[Any]]) -> Callable[[Share, Any], Any]:
    """The same of one that takes time where sessions are large."""

    @wraps(act)
    async def told(share: Share, args: Any) -> Any:
        try:
            return await share.world.pace.through(share.owner, act(share, args))
        except LuahostError as error:
            return _no(error)

    return told


def _no(error: LuahostError) -> Result:
    if error.kind == "invalid_config":
        return results.error("invalid_options", error.message, field="json")
    field = error.message.partition(": ")[0] if error.kind == "invalid_options" else None
    return results.error(error.kind, error.message, retryable=error.kind == "session_busy", field=field)


def _no_room(share: Share, size: int, what: str, hint: str) -> Result | None:
    if size <= share.value_bytes:
        return None
    return results.error("too_large", f"{what} is {size} bytes; a value may have {share.value_bytes}{hint}")


@_in_parts
def dump(share: Share, args: DumpArgs | None) -> Parts[str | Result]:
    opts = DumpOptions() if args is None else args.opts
    for id in dict.fromkeys(opts.ids) if opts.ids is not None else list(share.sessions):
        yield from share.sessions.find(id).counting()
    size = share.sessions.dump_bytes(opts.ids)
    return _no_room(share, size, "the dump", "; dump some with ids, or trim") or share.sessions.dump(
        opts.ids, full=opts.full
    )


@_in_parts
def load(share: Share, args: LoadArgs) -> Parts[Result]:
    return {"ok": True, "count": (yield from share.sessions.loading(args.json, args.opts.mode))}


@_told
def answer(share: Share, args: AnswerArgs) -> Result:
    """Stores the results of calls that the model will not be asked about again."""
    return {"ok": share.sessions.answer(args.session_id, [each.block() for each in args.tool_results])}


@_in_parts
def list_(share: Share, args: None) -> Parts[Result]:
    too_large = _no_room(share, LISTED_BYTES * len(share.sessions), "the list", "; delete some sessions")
    if too_large:
        return too_large
    listed: list[dict[str, Any]] = []
    for session in list(share.sessions.values()):
        yield from session.counting()
        listed.append(msgspec.to_builtins(described(session)))
        if len(listed) % LISTED_AT_ONCE == 0:
            yield
    return {"ok": True, "sessions": listed}


@_in_parts
def get(share: Share, args: IdArgs) -> Parts[Result]:
    session = share.sessions.find(args.id)
    yield from session.counting()
    too_large = _no_room(
        share, session.tally.bytes * 3 // 4, f"session {args.id[:80]!r}", "; trim it, or fork a part"
    )
    return too_large or {"ok": True, **_without_none((yield from readable(session)))}


@_told
def delete(share: Share, args: IdArgs) -> Result:
    share.sessions.delete(args.id)
    return {"ok": True}


@_told
def fork(share: Share, args: ForkArgs) -> Result:
    return {"ok": True, "id": share.sessions.fork(args.id, args.opts.new_id, args.opts.at_turn)}


@_in_parts
def trim(share: Share, args: TrimArgs) -> Parts[Result]:
    yield from share.sessions.find(args.id).counting()
    before = len(share.sessions.find(args.id).messages)
    after = share.sessions.trim(args.id, args.opts.max_messages, args.opts.max_tokens)
    return {"ok": True, "removed": before - after.messages, **msgspec.to_builtins(after)}


@_in_parts
def older(share: Share, args: OlderArgs) -> Parts[Result]:
    """What compaction would summarise, as text for a model, and what `condense` wants to know about it."""
    yield from share.sessions.find(args.id).counting()
    session, count = share.sessions.older(args.id, args.keep_turns)
    about = {"ok": True, "count": count, "tokens": session.tokens}
    if count == 0:
        return about
    part = session.messages[:count]
    texts: list[str] = []
    at = size = 0
    while at < count:
        some = portion(part, at)
        at, size = at + len(some), size + measure(some).bytes
        too_large = _no_room(share, size, "the older part", "; trim the session first")
        if too_large:
            return too_large
        texts += [text] if (text := as_text(some)) else []
        yield
    prefix = yield from session.prefix_of(count)
    return {**about, "text": "\n\n".join(texts), "prefix_sha256": prefix}


@_in_parts
def condense(share: Share, args: CondenseArgs) -> Parts[Result]:
    after = yield from share.sessions.condense(args.id, args.count, args.prefix_sha256, args.summary)
    return {"ok": True, **msgspec.to_builtins(after)}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
