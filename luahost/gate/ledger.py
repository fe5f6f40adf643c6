"""Ledgers: what a grant has been used for. Reserve before the act, settle after it, on every ledger up the chain.

One ledger per grant. A reservation is made on all of them or on none, without waiting in between, so two calls
that race for the last one cannot both win. Amounts are whole numbers and never below zero. No clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class Shortage(msgspec.Struct, frozen=True):
    """A reservation that did not fit: which limit, how much it allows, how much is taken, how much was asked."""

    limit: str
    allowed: int
    used: int
    asked: int


class Limit(msgspec.Struct, frozen=True):
    """The caps of one ledger; None is no cap."""

    max_calls: int | None = None
    max_tokens: int | None = None
    max_concurrency: int | None = None


class Ledger:
    """The counters of one grant."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.calls = 0  # settled, and reserved by calls under way
        self.tokens = 0  # settled
        self.tokens_reserved = 0
        self.running = 0
        self.started_s: float | None = None  # when the grant was first given to a VM
        self.revoked: str | None = None  # why, once it is
        self.flights: set[Reservation] = set()

    def shortage(self, tokens: int) -> Shortage | None:
        limit = self.limit
        if limit.max_concurrency is not None and self.running >= limit.max_concurrency:
            return Shortage("max_concurrency", limit.max_concurrency, self.running, 1)
        if limit.max_calls is not None and self.calls >= limit.max_calls:
            return Shortage("max_calls", limit.max_calls, self.calls, 1)
        if limit.max_tokens is not None:
            taken = self.tokens + self.tokens_reserved
            if taken + tokens > limit.max_tokens:
                return Shortage("max_tokens", limit.max_tokens, taken, tokens)
        return None

    def tokens_left(self) -> int | None:
        if self.limit.max_tokens is None:
            return None
        return max(0, self.limit.max_tokens - self.tokens - self.tokens_reserved)

    def usage(self) -> dict[str, int]:
        return {"calls": self.calls, "tokens": self.tokens, "running": self.running}

    def remaining(self) -> dict[str, int]:
        left = {}
        if self.limit.max_calls is not None:
            left["calls"] = max(0, self.limit.max_calls - self.calls)
        tokens = self.tokens_left()
        if tokens is not None:
            left["tokens"] = tokens
        if self.limit.max_concurrency is not None:
            left["concurrency"] = max(0, self.limit.max_concurrency - self.running)
        return left


class Reservation:
    """One call under way on a chain of ledgers. Ends once: settle() or release()."""

    def __init__(self, chain: Sequence[Ledger], tokens: int) -> None:
        self._chain, self._tokens, self._open = tuple(chain), tokens, True
        self.on_cancel: Callable[[str, str], None] = lambda kind, why: None
        for ledger in self._chain:
            ledger.calls += 1
            ledger.tokens_reserved += tokens
            ledger.running += 1
            ledger.flights.add(self)

    def settle(self, tokens: int) -> None:
        """The call reached the world and used this many tokens; over the reservation is recorded too."""
        self._close(calls=1, tokens=max(0, tokens))

    def release(self) -> None:
        """Nothing reached the world: the call is given back."""
        self._close(calls=0, tokens=0)

    def _close(self, calls: int, tokens: int) -> None:
        if not self._open:
            return
        self._open = False
        for ledger in self._chain:
            ledger.calls -= 1 - calls
            ledger.tokens_reserved -= self._tokens
            ledger.tokens += tokens
            ledger.running -= 1
            ledger.flights.discard(self)


def reserve(chain: Sequence[Ledger], tokens: int) -> Reservation | Shortage:
    """All ledgers of the chain, or the first shortage."""
    for ledger in chain:
        shortage = ledger.shortage(tokens)
        if shortage is not None:
            return shortage
    return Reservation(chain, tokens)
