"""What a script turned out to be once its top level had run, and how each thing it offers is called.

A table with any of run, on_request, on_signal, init, shutdown, snapshot, restore, abort; a function; or a value.
Knows no grant, no child, and not whose turn it is.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import msgspec

from luahost.errors import HostFault, LuahostError, ScriptError
from luahost.program.activations import Activations
from luahost.values import Source, Value

SNAPSHOT_VERSION = 1

_log = logging.getLogger("luahost.output")

T = TypeVar("T")


class Intent(msgspec.Struct, frozen=True):
    """A tool that the script answers; `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class Answered(msgspec.Struct, frozen=True):
    """What an intent came to, for whoever called it. What is not UTF-8 in it has become U+FFFD."""

    content: str
    is_error: bool


class Script:
    """One VM's. `name` is the VM's, for messages."""

    def __init__(self, name: str, activations: Activations) -> None:
        self._name, self._activations = name, activations
        self._has: dict[str, bool] = {}
        self._id = ""  # that it gives itself

    async def load(self, source: Source, input: Value) -> None:
        """Compiles it and runs its top level."""
        spec = {"source": source.lua(), "name": source.name, "input": input}
        described = await self._activations.run("load", spec)
        described = described if isinstance(described, dict) else {}
        has, id = described.get("has"), described.get("id")
        self._has = dict(has) if isinstance(has, dict) else {}
        self._id = id if isinstance(id, str) else ""

    def offers(self, handler: str) -> bool:
        return self._has.get(handler, False)

    @property
    def can_run(self) -> bool:
        """A function can, and a value is its own answer."""
        return not self._has or self.offers("run") or self.offers("on_request")

    async def handle(self, handler: str, *arg: Value) -> Value:
        """What it says to this, called with one argument or none; None when it does not offer it."""
        if not self.offers(handler):
            return None
        call: dict[str, Value] = {"name": handler} | ({"arg": arg[0]} if arg else {})
        return await self._activations.run("handler", call)

    async def hear(self, handler: str, *arg: Value) -> None:
        """As handle, for what goes on whatever the script makes of it: an error is a line in the log."""
        try:
            await self.handle(handler, *arg)
        except LuahostError as error:
            _log.warning("%s: %s failed: %s", self._name, handler, error.message)

    async def signal(self, kind: str, reason: str | None, approval_id: str | None) -> str:
        """What it answers to a signal: Handled, Ignored or Abort."""
        said = {"reason": reason, "approval_id": approval_id}
        signal = {"kind": kind, "scope": "global" if kind == "Veto" else "component"}
        signal |= {name: value for name, value in said.items() if value is not None}
        answer = await self.handle("on_signal", signal)
        answer = answer.capitalize() if isinstance(answer, str) else ""
        return answer if answer in ("Handled", "Abort") else "Ignored"

    async def snapshot(self) -> Value:
        """What its snapshot() returns, marked with its id."""
        if not self.offers("snapshot"):
            raise ScriptError(f"{self._name} has no snapshot()", kind="not_supported")
        return {"component": self._id, "version": SNAPSHOT_VERSION, "state": await self.handle("snapshot")}

    async def restore(self, snapshot: Value) -> None:
        if not isinstance(snapshot, dict) or snapshot.keys() != {"component", "version", "state"}:
            raise ScriptError("restore: what snapshot() gave expected", kind="invalid_input")
        if snapshot["version"] != SNAPSHOT_VERSION:
            message = f"restore: version {SNAPSHOT_VERSION} expected, got {snapshot['version']!r}"
            raise ScriptError(message, kind="version_mismatch")
        if snapshot["component"] != self._id:
            message = f"restore: a snapshot of {self._id!r} expected, got one of {snapshot['component']!r}"
            raise ScriptError(message, kind="component_mismatch")
        if not self.offers("restore"):
            raise ScriptError(f"{self._name} has no restore(value)", kind="not_supported")
        await self.handle("restore", snapshot["state"])

    async def intents(self) -> list[Intent]:
        """Those that it registered and has not taken away."""
        return _of_shape(await self._activations.run("intents", None), list[Intent])


def answered(said: Value) -> Answered:
    """The answer of an intent that was called."""
    if isinstance(said, dict) and isinstance(said.get("content"), bytes):
        said = {**said, "content": said["content"].decode(errors="replace")}
    return _of_shape(said, Answered)


def _of_shape(value: Value, shape: type[T]) -> T:
    """What our own code in the VM says, which a broken worker might not."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise HostFault(f"the worker's answer is none: {error}", kind="worker_lied") from None
