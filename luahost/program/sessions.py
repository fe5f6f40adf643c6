"""A VM's LLM sessions as Python sees them: `vm.sessions`. What they are is said in ops/sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from luahost.ops.sessions.session import SessionInfo, readable
from luahost.ops.sessions.store import Mode, Store
from luahost.parts import at_once


class Sessions:
    """A VM's LLM sessions, from outside.

    A wrong argument is ConfigError; its `kind` is not_found for an unknown id, session_busy while a turn is under
    way, too_large where there is no room.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> list[SessionInfo]:
        """What there is, oldest first."""
        return self._store.list()

    def get(self, id: str) -> dict[str, Any]:
        """{id, system_prompt, messages, …} as plain values; the providers' own state is left out."""
        return at_once(readable(self._store.find(id)))

    def delete(self, id: str) -> None:
        """Forgets the session."""
        self._store.delete(id)

    def fork(self, id: str, new_id: str | None = None, *, at_turn: int | None = None) -> str:
        """A second session with the same past, or its first `at_turn` turns (-1: all but the last); its id."""
        return self._store.fork(id, new_id, at_turn)

    def trim(self, id: str, *, max_messages: int | None = None, max_tokens: int | None = None) -> SessionInfo:
        """Drops the oldest turns until the limits hold; keeps the system prompt and every call with its result."""
        return self._store.trim(id, max_messages, max_tokens)

    def dump(self, ids: Iterable[str] | None = None, *, full: bool = False) -> str:
        """All sessions, or these, as JSON text: {"sess-…": [{"role", "content"}, …]}.

        full: with what each has used, its times and what waits for approval: {"version": 1, "sessions": {…}}.
        """
        return self._store.dump(ids, full=full)

    def load(self, text: str | bytes, mode: Mode = "replace") -> int:
        """Takes sessions from a dump: replace, merge or skip. How many were taken; ConfigError changes nothing."""
        return self._store.load(text, mode)

    def __len__(self) -> int:
        return len(self._store)
