"""What one VM holds: a grant of each kind, and what it has handed on to its children.

Between a grant and the children's stands a stem: theirs are below the stem, and the stem is below the grant. It
ends when the VM no longer holds the grant, for whatever reason, and with it all that was handed on; so nobody can
do what the one above cannot, and a grant that is given again is not handed on again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luahost.errors import ConfigError
from luahost.gate.grants import Grant


class Holdings:
    """One VM's. `grants` is the live mapping, by kind; `owner` is its name in messages."""

    def __init__(self, owner: str, grants: dict[str, Grant]) -> None:
        self.grants = grants
        self._owner = owner
        self._stems: dict[str, Grant] = {}
        self._taken: dict[str, Grant] = {}  # what was revoked, and not given again

    def put(self, grant: Grant, now_s: float) -> None:
        """In place of one of the same kind; what was handed on from that ends."""
        grant.given(now_s)
        self._end_stem(grant.kind)
        self.grants[grant.kind] = grant
        self._taken.pop(grant.kind, None)

    def take(self, kind: str) -> None:
        if kind in self.grants:
            self._taken[kind] = self.grants.pop(kind)
        self._end_stem(kind)

    def delegate(self, kind: str, constraints: Mapping[str, Any]) -> Grant:
        """A grant for a child. ConfigError (capability_widening) when none is held, or a narrower one."""
        held = self.grants.get(kind)
        if held is None:
            raise ConfigError(f"{kind}: {self._owner} holds no such grant to hand on", kind="capability_widening")
        if kind not in self._stems:
            self._stems[kind] = held.attenuate()
        return self._stems[kind].attenuate(**constraints)

    def gave(self, grant: Grant) -> bool:
        """Whether the grant is one of delegate()'s, and still good."""
        stem = self._stems.get(grant.kind)
        return stem is not None and stem in grant.chain()

    def ever(self) -> dict[str, tuple[Grant, bool]]:
        """Kind → the grant that is held, or was the last, and whether it was taken away."""
        taken = {kind: (grant, True) for kind, grant in self._taken.items()}
        return taken | {kind: (grant, False) for kind, grant in self.grants.items()}

    def _end_stem(self, kind: str) -> None:
        stem = self._stems.pop(kind, None)
        if stem is not None:
            stem.revoke(f"{self._owner} no longer holds what it was handed on from")
