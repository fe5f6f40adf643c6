"""The sessions of one VM: conversations by id, kept in the host, committed whole or not at all, limited in memory.

Every verb checks first and changes then. One turn at a time per session; whoever would change a session with a
turn under way is told `session_busy` and never waits. Listing, reading and forking do not mind. Knows no script,
no grant, no model.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from luahost.errors import ConfigError, Exhausted
from luahost.ops.sessions import dump as session_dump
from luahost.ops.sessions.dump import MAX_BYTES, MAX_SESSIONS, valid_id
from luahost.ops.sessions.session import Session, SessionInfo, described
from luahost.ops.sessions.turns import shortened, turn_starts, without
from luahost.parts import Parts, at_once
from luahost.wire.events import Usage
from luahost.wire.messages import Message, ToolResultBlock

STORE_BYTES = MAX_BYTES
"""What all sessions of a VM may take; no more than a dump that can be loaded again."""
PER_SESSION_BYTES = 24 * 1024 * 1024

Mode = Literal["merge", "replace", "skip"]

SUMMARISED = "Summarise our conversation so far."
"""What the user is made to have said where a summary stands in for older turns."""


class Store:
    """All sessions of one VM. `clock` is seconds since 1970."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        max_bytes: int = STORE_BYTES,
        max_session_bytes: int = PER_SESSION_BYTES,
    ) -> None:
        self._clock, self._max_bytes, self._max_session_bytes = clock, max_bytes, max_session_bytes
        self._sessions: dict[str, Session] = {}
        self._cost = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def values(self) -> Iterable[Session]:
        """Oldest first."""
        return self._sessions.values()

    # ── a turn ──────────────────────────────────────────────────────────────────────────────────────────

    def get(self, id: str | None) -> Session:
        """The session of this id, or a new one that is stored by turn_of(). None or "" makes an id."""
        return self._sessions.get(id or "") or Session(id or f"sess-{uuid.uuid4()}", now_s=self._clock())

    @contextmanager
    def turn_of(self, session: Session, *, keep: bool = True) -> Iterator[None]:
        """Marks the session busy for one turn. A new one that stays empty is not kept, nor one nobody wants."""
        new = session.id not in self._sessions
        if keep:
            self._put(session)
        session.busy = True
        try:
            yield
        finally:
            session.busy = False
            if new and not session.messages and self._sessions.get(session.id) is session:
                self._drop(session)

    def lack(self, session: Session, turn: Iterable[Message] = ()) -> str | None:
        """Why the turn has no room in the store; None when it has."""
        if session.id not in self._sessions and len(self._sessions) >= MAX_SESSIONS:
            return f"this VM's store of sessions is full: {MAX_SESSIONS} sessions; delete some"
        known = self._sessions.get(session.id)
        grown = Session(session.id, session.system, turn).cost
        return self._too_large(session.id, session.cost + grown, 0 if known is None else known.cost)

    def commit(self, session: Session, system: str | None, turn: list[Message], usage: Usage | None = None) -> None:
        """A turn that succeeded. Exhausted (too_large), and the session as it was, if there is no room for it."""
        if session.id in self._sessions:
            self._room(session, turn)
        with self._changing(session):
            session.commit(system, turn, usage)

    def answer(self, id: str, given: list[ToolResultBlock]) -> bool:
        """Answers the calls of the session's last turn; False if none waits, or a turn is under way.

        Without room for the results they stay unanswered, and are mended when the session is next sent.
        """
        session = self.get(id)
        self._room(session, [Message("user", list(given))])
        with self._changing(session):
            return session.answer(given)

    @contextmanager
    def pending(self, args: Any, request: Any) -> Iterator[None]:
        """While a call of a session waits for an approval, the session says so; a full dump has it."""
        opts = args.get("opts") if isinstance(args, dict) else None
        session = self._sessions.get(str(opts.get("session_id", ""))) if isinstance(opts, dict) else None
        if session is None:
            yield
            return
        waits = {"kind": request.kind, "action": request.action, "args_sha256": request.args_sha256}
        with self._changing(session):
            session.pending.append(waits)
        try:
            yield
        finally:
            with self._changing(session):
                session.pending.remove(waits)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────

    def find(self, id: str) -> Session:
        """ConfigError (not_found) if there is none."""
        session = self._sessions.get(id)
        if session is None:
            raise ConfigError(f"no session {id[:80]!r}", kind="not_found")
        return session

    def list(self) -> list[SessionInfo]:
        """Oldest first."""
        return [described(session) for session in self._sessions.values()]

    def dump(self, ids: Iterable[str] | None = None, *, full: bool = False) -> str:
        """All sessions, or these, as JSON text; see dump.py for the two forms."""
        chosen = self._sessions.values() if ids is None else [self.find(id) for id in dict.fromkeys(ids)]
        return session_dump.dump(chosen, full=full)

    def dump_bytes(self, ids: Iterable[str] | None = None) -> int:
        """At least how long a dump is; cheap."""
        chosen = self._sessions.values() if ids is None else [self.find(id) for id in dict.fromkeys(ids)]
        return sum(session.tally.bytes for session in chosen)

    # ── changing ────────────────────────────────────────────────────────────────────────────────────────

    def load(self, text: str | bytes, mode: Mode = "replace") -> int:
        """Takes sessions from a dump; how many were taken. ConfigError, and nothing changed, if it is none.

        replace: the store becomes the dump. merge: sessions of the dump win. skip: sessions that are here win.
        """
        return at_once(self.loading(text, mode))

    def loading(self, text: str | bytes, mode: Mode = "replace") -> Parts[int]:
        """The same in parts; all is checked first, and taken then."""
        if mode not in ("merge", "replace", "skip"):
            raise ConfigError(f'mode: "merge", "replace" or "skip" expected, got {mode!r}')
        loaded = yield from session_dump.parsing(text, self._clock())
        for id, session in self._sessions.items():
            if session.busy and (mode == "replace" or (mode == "merge" and id in loaded)):
                raise _busy(session)
        here = {} if mode == "replace" else self._sessions
        taken = {id: each for id, each in loaded.items() if mode != "skip" or id not in here}
        after = {**here, **taken}
        costs = {id: session.cost for id, session in after.items()}
        cost = sum(costs.values())
        if len(after) > MAX_SESSIONS:
            raise ConfigError(
                f"sessions: at most {MAX_SESSIONS} expected, it would be {len(after)}", kind="too_large"
            )
        if cost > self._max_bytes or any(costs[id] > self._max_session_bytes for id in taken):
            raise ConfigError(
                f"sessions: at most {self._max_bytes} bytes of them, {self._max_session_bytes} of each, expected",
                kind="too_large",
            )
        self._sessions, self._cost = after, cost
        return len(taken)

    def delete(self, id: str) -> None:
        session = self.find(id)
        if session.busy:
            raise _busy(session)
        self._drop(session)

    def fork(self, id: str, new_id: str | None = None, at_turn: int | None = None) -> str:
        """A second conversation with the same past, or its first `at_turn` turns (-1: all but the last); its id."""
        session = self.find(id)
        new_id = new_id or f"sess-{uuid.uuid4()}"
        if not valid_id(new_id):
            raise _invalid("new_id", "1 to 200 characters without control characters expected")
        if new_id in self._sessions:
            raise _invalid("new_id", f"there is a session {new_id[:80]!r} already")
        starts = turn_starts(session.messages)
        kept = len(starts) if at_turn is None else at_turn if at_turn >= 0 else len(starts) + at_turn
        if not 0 <= kept <= len(starts):
            raise _invalid("at_turn", f"from -{len(starts)} to {len(starts)} expected, got {at_turn}")
        whole = kept == len(starts)
        made = session.copy(new_id, None if whole else session.messages[: starts[kept]], self._clock())
        self._room(made)
        self._put(made)
        return new_id

    def trim(self, id: str, max_messages: int | None = None, max_tokens: int | None = None) -> SessionInfo:
        """Drops the oldest turns until the limits hold; keeps the system prompt and whole rounds of tool calls.

        A limit of 0 empties the session. ConfigError (invalid_options) if the last round alone is over the limit.
        """
        session = self._idle(id)
        for field, limit in (("max_messages", max_messages), ("max_tokens", max_tokens)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
                raise _invalid(field, f"a whole number from 0 on expected, got {limit!r}")
        if max_messages is None and max_tokens is None:
            raise _invalid("max_messages", "max_messages or max_tokens expected")
        if (max_messages is None or len(session.messages) <= max_messages) and (
            max_tokens is None or session.tally.tokens <= max_tokens
        ):
            return described(session)
        kept = shortened(session.messages, max_messages, max_tokens)
        if kept is None:
            field = "max_messages" if max_tokens is None else "max_tokens"
            raise _invalid(field, "the last round of the conversation is longer; 0 empties the session")
        with self._changing(session):
            session.rewrite(kept)
        return described(session)

    def older(self, id: str, keep_turns: int) -> tuple[Session, int]:
        """The session, and how many of its messages come before its last `keep_turns` turns."""
        session = self._idle(id)
        starts = [0, *turn_starts(session.messages), len(session.messages)]
        return session, starts[max(0, len(starts) - 1 - keep_turns)]

    def condense(self, id: str, count: int, prefix_sha256: str, summary: str) -> Parts[SessionInfo]:
        """Puts one turn with the summary in place of the first `count` messages, if they are still those."""
        session = self._idle(id)
        messages, starts = session.messages, [*turn_starts(session.messages), len(session.messages)]
        known = (yield from session.prefix_of(count)) if count in starts else ""
        session = self._idle(id)  # that took time
        if count == 0 or known != prefix_sha256 or session.messages is not messages:
            raise ConfigError(f"session {id[:80]!r} was changed meanwhile", kind="conflict")
        turn = [Message("user", SUMMARISED), Message("assistant", summary)]
        self._room(session, turn)
        with self._changing(session):
            session.rewrite(turn + without(session.messages, count))
        return described(session)

    # ── accounts ────────────────────────────────────────────────────────────────────────────────────────

    def _idle(self, id: str) -> Session:
        session = self.find(id)
        if session.busy:
            raise _busy(session)
        return session

    def _room(self, session: Session, turn: Iterable[Message] = ()) -> None:
        lack = self.lack(session, turn)
        if lack is not None:
            raise Exhausted(lack, limit="sessions_bytes", kind="too_large")

    def _put(self, session: Session) -> None:
        if session.id not in self._sessions:
            self._sessions[session.id] = session
            self._cost += session.cost

    def _drop(self, session: Session) -> None:
        del self._sessions[session.id]
        self._cost -= session.cost

    @contextmanager
    def _changing(self, session: Session) -> Iterator[None]:
        stored = self._sessions.get(session.id) is session
        before = session.cost
        yield
        session.updated_s = self._clock()
        if stored:
            self._cost += session.cost - before

    def _too_large(self, id: str, cost: int, before: int) -> str | None:
        if cost > self._max_session_bytes:
            return f"session {id[:80]!r} would take more than {self._max_session_bytes} bytes; trim or compact it"
        if self._cost - before + cost > self._max_bytes:
            return f"this VM's sessions would take more than {self._max_bytes} bytes; trim or delete some"
        return None


def _busy(session: Session) -> ConfigError:
    return ConfigError(
        f"session {session.id!r} has a turn under way; wait for it, or use another", kind="session_busy"
    )


def _invalid(field: str, message: str) -> ConfigError:
    return ConfigError(f"{field}: {message}", kind="invalid_options")
