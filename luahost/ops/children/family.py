"""What the acts on children see of VMs. A VM reaches those below it and no other: there is no way up or across.

The host's own VM (program/vm.py) is one of these; the acts do not know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from luahost.errors import LuahostError
from luahost.gate.grants import Grant
from luahost.standing import Standing
from luahost.values import Limits, Source, Value

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def is_id(text: str) -> bool:
    """Whether a child may be called so."""
    return _ID.fullmatch(text) is not None and text not in (".", "..")


class Program(Protocol):
    """One VM. Its verbs raise LuahostError; ids and addresses are as in `found`."""

    name: str  # the path from the root
    limits: Limits
    depth: int  # 0 for a root

    @property
    def children(self) -> Mapping[str, Program]:
        """The living ones, by id."""

    @property
    def past(self) -> Mapping[str, Standing]:
        """The last that have ended, by id."""

    @property
    def living(self) -> int:
        """How many there are, those included that are being made."""

    @property
    def tree_size(self) -> int:
        """Living VMs below the root of the tree, the same way."""

    def has_child(self, id: str) -> bool:
        """Whether the id is taken."""

    def standing(self) -> Standing: ...
    def grant(self, grant: Grant) -> None: ...
    def delegate(self, kind: str, **constraints: Any) -> Grant: ...
    def make_room(self, id: str, limit: int) -> None: ...
    def revoke(self, kind: str) -> None: ...

    def stop_soon(self) -> None: ...

    async def evaluate(
        self, script: Source, input: Value, limits: Limits, say: Callable[[str], None]
    ) -> tuple[Value, LuahostError | None, float]: ...
    async def spawn(
        self,
        id: str,
        script: Source,
        *,
        grants: Iterable[Grant] = (),
        limits: Limits | None = None,
        input: Value = None,
        restore: Value = None,
    ) -> Program: ...
    async def run(self, input: Value = None) -> Value: ...
    async def request(self, operation: str, payload: Value = None, *, category: str = "UserInput") -> Value: ...
    async def signal(self, kind: str, reason: str | None = None) -> str: ...
    async def snapshot(self) -> Value: ...
    async def cancel(self, reason: str = "") -> None: ...
    async def close(self) -> None: ...
    async def end(self, why: LuahostError) -> None: ...


def found(program: Program, address: str) -> Program | None:
    """The living VM at an address below this one: a child's id, or `child/grandchild`."""
    at: Program | None = program
    for id in address.split("/"):
        at = None if at is None else at.children.get(id)
    return at


def remembered(program: Program, address: str) -> Standing | None:
    """How the VM at an address stands, or stood when it ended."""
    *way, id = address.split("/")
    parent: Program | None = program if not way else found(program, "/".join(way))
    if parent is None:
        return None
    child = parent.children.get(id)
    return parent.past.get(id) if child is None else child.standing()
