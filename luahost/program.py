"""A loaded script, as Python sees it: what it holds, how it is called, signalled and ended.

Made by Host.load. What goes on inside an activation is activations.py's; what a script may do the bridge's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
import trio

from luahost.activations import Activations, Usage
from luahost.bridge import Bridge
from luahost.errors import ConfigError, LuahostError, Stopped
from luahost.gate.grants import Grant
from luahost.journal import Journal
from luahost.ops.session import SessionInfo, readable
from luahost.ops.sessions import Mode, Store
from luahost.ops.world import Share, World
from luahost.outcomes import is_response, unwrapped
from luahost.values import Limits, Source, Value
from luahost.workers.pool import Pool
from luahost.workers.worker import Port

__all__ = ["Home", "Sessions", "Usage", "Vm"]

SHUTDOWN_S = 1.0
"""What a script's shutdown() may take."""

SIGNALS = ("Veto", "Cancel", "Shutdown", "Pause", "Resume", "Steer", "Approve", "Reject", "Modify")

_log = logging.getLogger("luahost.output")


class Home(NamedTuple):
    """What all VMs of a host share. `put_out(vm, kind, text)` takes what they print."""

    world: World
    pool: Pool
    journal: Journal
    nursery: trio.Nursery
    put_out: Callable[[str, str, str], None]
    vms: set[Vm]


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
        return readable(self._store.find(id))

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


class Vm:
    """A loaded script. Made by Host.load."""

    def __init__(self, home: Home, name: str, share: Share, port: Port, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.sessions = Sessions(share.sessions)
        self._home, self._port = home, port
        self._bridge = Bridge(name, share, port, home.nursery, home.journal)
        self._activations = Activations(self._bridge, port, limits, home.nursery, self._put_out)
        self._turn = trio.Lock()  # runs and requests come one after another; signals do not wait
        self._has: dict[str, bool] = {}

    def grant(self, grant: Grant) -> None:
        """Gives the VM a grant, from now on; one of the same kind is replaced.

        Calls under way go on under the grant they began with; revoke first to end them.
        """
        self._bridge.grant(grant)

    def revoke(self, kind: str) -> None:
        """Takes the grant of this kind away and ends its calls under way. Nothing happens if there is none."""
        self._bridge.revoke(kind)

    @property
    def usage(self) -> Usage:
        """What the VM has used so far; a copy."""
        usage = msgspec.structs.replace(self._activations.usage)
        usage.calls, usage.denied = self._bridge.calls, self._bridge.denied
        return usage

    @property
    def waiting_for(self) -> list[str]:
        """The host calls that are under way, by operation ("llm", "clock.sleep"), oldest first."""
        return self._bridge.waiting_for

    async def run(self, input: Value = None) -> Value:
        """Calls the script: run(input) of its table, on_request, or the function it returned; else its value.

        Raises ScriptError, Denied, Exhausted, Stopped, WorldError or HostFault.
        """
        async with self._turn:
            result = await self._activations.run("run", input)
        return unwrapped(result) if is_response(result, needs_success=True) else result

    async def request(self, operation: str, payload: Value = None, *, category: str = "UserInput") -> Value:
        """Calls on_request{id, operation, category, payload}; its data, or ScriptError with its error."""
        request = {
            "id": f"req-{self._activations.last + 1}",
            "operation": operation,
            "category": category,
        } | ({} if payload is None else {"payload": payload})
        async with self._turn:
            result = await self._activations.run("request", request)
        return unwrapped(result) if is_response(result, needs_success=False) else result

    async def signal(self, kind: str, reason: str | None = None) -> str:
        """Calls on_signal{kind, scope, reason} at once, also while a run waits: Handled, Ignored or Abort.

        Shutdown closes the VM without asking. After Abort (Veto cannot be answered so) the VM is closed.
        """
        if kind not in SIGNALS:
            raise ConfigError(f"signal: one of {', '.join(SIGNALS)} expected, got {kind!r}")
        if kind == "Shutdown":
            await self.close()
            return "Handled"
        if not self._has.get("on_signal"):
            return "Ignored"
        signal = {"kind": kind, "scope": "component"} | ({} if reason is None else {"reason": reason})
        said = await self._activations.run("handler", {"name": "on_signal", "arg": signal})
        answer = said.capitalize() if isinstance(said, str) else ""
        if answer == "Abort" and kind == "Veto":
            answer = "Handled"
        if answer == "Abort":
            await self.end(Stopped("the script answered a signal with Abort", kind="aborted"))
        return answer if answer in ("Handled", "Abort") else "Ignored"

    async def close(self) -> None:
        """Calls the script's shutdown() if it has one, for at most a second; then nothing of the VM is left."""
        if self._activations.ended is None and self._has.get("shutdown"):
            with trio.move_on_after(SHUTDOWN_S):
                try:
                    await self._activations.run("handler", {"name": "shutdown"})
                except LuahostError as error:
                    _log.warning("%s: shutdown failed: %s", self.name, error.message)
        await self.end(Stopped("the VM was closed", kind="closed"))

    # ── for the host ────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, source: Source, input: Value) -> None:
        """Runs the script's top level, and init() if it has one."""
        spec = {"source": source.lua(), "name": source.name, "input": input}
        described = await self._activations.run("load", spec)
        has = described.get("has") if isinstance(described, dict) else None
        self._has = dict(has) if isinstance(has, dict) else {}
        if self._has.get("init"):
            await self._activations.run("handler", {"name": "init"})

    async def end(self, why: LuahostError) -> None:
        """At once, without asking the script; nothing of it is left then."""
        self._activations.end(why)
        with trio.CancelScope(shield=True):
            await self._home.pool.close(self._port)
        self._home.vms.discard(self)

    def _put_out(self, kind: str, text: str) -> None:
        self._home.put_out(self.name, kind, text)
