"""The children of one VM, the living and the past: ids, places, and how many the whole tree has.

An id is taken from when a child begins to be made until nothing can happen in it any more; then how it stood is
kept, for the tree's last so many. Knows nothing of how a child is made or what it does.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from luahost.standing import Standing

MAX_PAST = 2000
"""VMs of a tree that have ended and are still told of."""


class Child(Protocol):
    id: str

    def standing(self) -> Standing: ...


C = TypeVar("C", bound=Child)


class Tree:
    """What all VMs of a tree count together."""

    def __init__(self) -> None:
        self.living = 0  # below the root, those included that are being made
        self.past = 0


class Children(Generic[C]):
    """One VM's. `leaving` are children that have ended and whose workers are not gone yet."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.living: dict[str, C] = {}
        self.leaving: set[C] = set()
        self.past: dict[str, Standing] = {}
        self.forgotten = 0
        self._coming: set[str] = set()

    def __len__(self) -> int:
        return len(self.living) + len(self._coming)

    def __contains__(self, id: str) -> bool:
        return id in self.living or id in self._coming

    def comes(self, id: str) -> None:
        """One begins to be made. Then born() or fails()."""
        self._coming.add(id)
        self.tree.living += 1

    def fails(self, id: str) -> None:
        self._coming.discard(id)
        self.tree.living -= 1

    def born(self, child: C) -> None:
        self._coming.discard(child.id)
        self.living[child.id] = child
        self._forget(child.id)

    def ended(self, child: C) -> None:
        """Its id and its place are free."""
        if self.living.get(child.id) is not child:
            return
        del self.living[child.id]
        self.leaving.add(child)
        self.tree.living -= 1
        self.tree.past += 1
        self.past[child.id] = child.standing()
        if self.tree.past > MAX_PAST:
            self._forget(next(iter(self.past)))

    def _forget(self, id: str) -> None:
        stood = self.past.pop(id, None)
        if stood is not None:
            self.tree.past -= sum(1 for _ in stood.walk())
            self.forgotten += 1

    def standings(self) -> list[Standing]:
        """The past ones first."""
        return [*self.past.values(), *(child.standing() for child in self.living.values())]
