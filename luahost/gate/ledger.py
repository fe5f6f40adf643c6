"""Ledgers: what a grant has been used for. Reserve before the act, settle after it, on every ledger up the chain.

One ledger per grant. A reservation is made on all of them or on none, without waiting in between, so two calls
that race for the last one cannot both win. Amounts are whole numbers, one for each of DIMENSIONS, and never below
zero; the constraint `max_NAME` caps one. No clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

DIMENSIONS = ("calls", "tokens", "bytes")
"""What is counted and can be capped."""

ONE_CALL = {"calls": 1}


class Shortage(msgspec.Struct, frozen=True):
    """A reservation that did not fit: which limit, how much it allows, how much is taken, how much was asked."""

    limit: str
    allowed: int
    used: int
    asked: int


class Ledger:
    """The counters of one grant.

    caps     dimension → most; what is absent has no cap
    counted  the dimensions that acts of the grant's kind have
    """

    def __init__(
        self,
        caps: Mapping[str, int] | None = None,
        max_concurrency: int | None = None,
        counted: Sequence[str] = DIMENSIONS,
    ) -> None:
        self.caps = dict(caps or {})
        self.max_concurrency = max_concurrency
        self.used = dict.fromkeys(counted, 0)  # settled
        self.reserved = dict.fromkeys(counted, 0)  # by calls under way
        self.running = 0
        self.started_s: float | None = None  # when the grant was first given to a VM
        self.revoked: str | None = None  # why, once it is
        self.flights: set[Reservation] = set()

    def shortage(self, asked: Mapping[str, int]) -> Shortage | None:
        if self.max_concurrency is not None and self.running >= self.max_concurrency:
            return Shortage("max_concurrency", self.max_concurrency, self.running, 1)
        for name, cap in self.caps.items():
            taken, wanted = self.used[name] + self.reserved[name], asked.get(name, 0)
            if taken + wanted > cap:
                return Shortage(f"max_{name}", cap, taken, wanted)
        return None

    def left(self, name: str) -> int | None:
        """What is left of a dimension; None when it has no cap."""
        cap = self.caps.get(name)
        return None if cap is None else max(0, cap - self.used[name] - self.reserved[name])

    def usage(self) -> dict[str, int]:
        """What was used of each dimension; a call under way counts as one."""
        return {**self.used, "calls": self.used["calls"] + self.reserved["calls"], "running": self.running}

    def remaining(self) -> dict[str, int]:
        left = {name: max(0, cap - self.used[name] - self.reserved[name]) for name, cap in self.caps.items()}
        if self.max_concurrency is not None:
            left["concurrency"] = max(0, self.max_concurrency - self.running)
        return left


class Reservation:
    """One call under way on a chain of ledgers. Ends once: settle() or release()."""

    def __init__(self, chain: Sequence[Ledger], asked: Mapping[str, int]) -> None:
        self._chain, self._asked, self._open = tuple(chain), asked, True
        self.on_cancel: Callable[[str, str], None] = lambda kind, why: None
        for ledger in self._chain:
            for name, amount in asked.items():
                ledger.reserved[name] += amount
            ledger.running += 1
            ledger.flights.add(self)

    def settle(self, **used: int) -> None:
        """The call reached the world and used this much; over the reservation is recorded too."""
        self._close({**ONE_CALL, **used})

    def release(self) -> None:
        """Nothing reached the world: the call is given back."""
        self._close({})

    def _close(self, used: Mapping[str, int]) -> None:
        if not self._open:
            return
        self._open = False
        for ledger in self._chain:
            for name, amount in self._asked.items():
                ledger.reserved[name] -= amount
            for name, amount in used.items():
                ledger.used[name] += max(0, amount)
            ledger.running -= 1
            ledger.flights.discard(self)


def reserve(chain: Sequence[Ledger], asked: Mapping[str, int]) -> Reservation | Shortage:
    """All ledgers of the chain, or the first shortage."""
    for ledger in chain:
        shortage = ledger.shortage(asked)
        if shortage is not None:
            return shortage
    return Reservation(chain, asked)
