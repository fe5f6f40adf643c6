"""Ledgers: what a grant has been used for. Reserve before the act, settle after it, on every ledger up the chain.

One ledger per grant. A reservation is made on all of them or on none, without waiting in between, so two calls
that race for the last one cannot both win. Amounts are whole numbers, one for each of DIMENSIONS, and never below
zero; the constraint `max_NAME` caps one. Money is whole millionths, so that sums are exact and NaN cannot get in.
No clock of its own: the caller passes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

DIMENSIONS = ("calls", "tokens", "input_tokens", "output_tokens", "cost_usd", "bytes")
"""What is counted and can be capped."""

UNITS: dict[str, int] = {"cost_usd": 1_000_000}
"""How many of the ledger's amounts make one of what people see; 1 for what is not here."""

ONE_CALL = {"calls": 1}
_ALWAYS_SHOWN = ("calls", "tokens", "bytes")


def seen(name: str, amount: int) -> int | float:
    """An amount as people see it: millionths of a dollar are dollars."""
    return amount / UNITS[name] if name in UNITS else amount


def kept(name: str, value: float) -> int:
    """What people say, as the ledger keeps it; rounded down, as it is used for caps."""
    return int(value * UNITS.get(name, 1) + 1e-6)


class Shortage(msgspec.Struct, frozen=True):
    """A reservation that did not fit: which limit, how much it allows, how much is taken, how much was asked.

    The amounts are as people see them. `retry_after_s`: when it would fit, where time alone helps.
    """

    limit: str
    allowed: int | float
    used: int | float
    asked: int | float
    retry_after_s: float | None = None


class Bucket:
    """A rate: `many` calls at once, and `many` in every `per_s` seconds. Time that goes back adds nothing."""

    def __init__(self, many: int, per_s: float) -> None:
        self.many, self.per_s = many, per_s
        self._level = float(many)
        self._at_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next call fits; 0 when it does now."""
        if self._at_s is None:
            self._at_s = now_s
        if now_s > self._at_s:
            self._level = min(float(self.many), self._level + (now_s - self._at_s) * self.many / self.per_s)
            self._at_s = now_s
        return 0.0 if self._level >= 1.0 - 1e-9 else (1.0 - self._level) * self.per_s / self.many

    def take(self) -> None:
        """One call, which wait_s() has just found to fit."""
        self._level -= 1.0


class Ledger:
    """The counters of one grant.

    caps     dimension → most; what is absent has no cap
    counted  the dimensions that acts of the grant's kind have
    rate     (so many calls, in so many seconds)
    """

    def __init__(
        self,
        caps: Mapping[str, int] | None = None,
        max_concurrency: int | None = None,
        counted: Sequence[str] = DIMENSIONS,
        rate: tuple[int, float] | None = None,
    ) -> None:
        self.caps = dict(caps or {})
        self.max_concurrency = max_concurrency
        self.bucket = None if rate is None else Bucket(*rate)
        self.used = dict.fromkeys(counted, 0)  # settled
        self.reserved = dict.fromkeys(counted, 0)  # by calls under way
        self.running = 0
        self.started_s: float | None = None  # when the grant was first given to a VM
        self.revoked: str | None = None  # why, once it is
        self.flights: set[Reservation] = set()

    def shortage(self, asked: Mapping[str, int], now_s: float) -> Shortage | None:
        if self.max_concurrency is not None and self.running >= self.max_concurrency:
            return Shortage("max_concurrency", self.max_concurrency, self.running, 1)
        for name, cap in self.caps.items():
            taken, wanted = self.used[name] + self.reserved[name], asked.get(name, 0)
            if taken + wanted > cap:
                return Shortage(f"max_{name}", seen(name, cap), seen(name, taken), seen(name, wanted))
        if self.bucket is not None:
            wait_s = self.bucket.wait_s(now_s)
            if wait_s > 0:
                many = self.bucket.many
                return Shortage("rate", many, many, 1, wait_s)
        return None

    def left(self, name: str) -> int | None:
        """What is left of a dimension; None when it has no cap."""
        cap = self.caps.get(name)
        return None if cap is None else max(0, cap - self.used[name] - self.reserved[name])

    def usage(self) -> dict[str, int | float]:
        """What was used of each dimension; a call under way counts as one. What nothing was counted of, and
        nothing caps, is left out, but for calls, tokens and bytes."""
        used = {**self.used, "calls": self.used["calls"] + self.reserved["calls"]}
        shown = {
            name: seen(name, amount)
            for name, amount in used.items()
            if amount or name in _ALWAYS_SHOWN or name in self.caps
        }
        return {**shown, "running": self.running}

    def remaining(self) -> dict[str, int | float]:
        left = {
            name: seen(name, max(0, cap - self.used[name] - self.reserved[name])) for name, cap in self.caps.items()
        }
        if self.max_concurrency is not None:
            left["concurrency"] = max(0, self.max_concurrency - self.running)
        return left


class Reservation:
    """One call under way on a chain of ledgers. Ends once: settle() or release().

    Until then it takes a place among those under way, and the end of a grant is its end. One that asks for nothing
    takes no place and is counted nowhere; the end of a grant is its end all the same.
    """

    def __init__(self, chain: Sequence[Ledger], asked: Mapping[str, int]) -> None:
        self._chain, self._asked, self._open = tuple(chain), asked, True
        self._reached = False
        self.on_cancel: Callable[[str, str], None] = lambda kind, why: None
        for ledger in self._chain:
            for name, amount in asked.items():
                ledger.reserved[name] += amount
            if ledger.bucket is not None and asked:
                ledger.bucket.take()
            ledger.running += bool(asked)
            ledger.flights.add(self)

    def caps(self, *names: str) -> bool:
        """Whether any ledger of the chain caps one of these dimensions."""
        return any(name in ledger.caps for ledger in self._chain for name in names)

    def exceeded(self, used: Mapping[str, int]) -> Shortage | None:
        """The cap that this call, having used so much by now, has run over beside what all others hold."""
        for ledger in self._chain:
            for name, cap in ledger.caps.items():
                others = ledger.used[name] + ledger.reserved[name] - self._asked.get(name, 0)
                if name in used and others + used[name] > cap:
                    return Shortage(f"max_{name}", seen(name, cap), seen(name, others), seen(name, used[name]))
        return None

    def grow(self, name: str, amount: int) -> Shortage | None:
        """Reserves so much more of a dimension for the same call, on all ledgers or on none."""
        for ledger in self._chain if self._open else ():
            cap, taken = ledger.caps.get(name), ledger.used[name] + ledger.reserved[name]
            if cap is not None and taken + amount > cap:
                return Shortage(f"max_{name}", seen(name, cap), seen(name, taken), seen(name, amount))
        for ledger in self._chain if self._open else ():
            ledger.reserved[name] += amount
        self._asked = {**self._asked, name: self._asked.get(name, 0) + amount}
        return None

    def reached(self) -> None:
        """The call is about to reach the world: from here on it counts, also where nobody waits for its end."""
        self._reached = True

    def settle(self, **used: int) -> None:
        """The call reached the world and used this much; over the reservation is recorded too."""
        self._close({**ONE_CALL, **used})

    def release(self) -> None:
        """It is over. A call that did not reach the world is given back."""
        self._close(ONE_CALL if self._reached else {})

    def _close(self, used: Mapping[str, int]) -> None:
        if not self._open:
            return
        self._open = False
        for ledger in self._chain:
            for name, amount in self._asked.items():
                ledger.reserved[name] -= amount
            for name, amount in used.items() if self._asked else ():
                ledger.used[name] += max(0, amount)
            ledger.running -= bool(self._asked)
            ledger.flights.discard(self)


def reserve(chain: Sequence[Ledger], asked: Mapping[str, int], now_s: float = 0.0) -> Reservation | Shortage:
    """All ledgers of the chain, or the first shortage; there is none where nothing is asked."""
    for ledger in chain if asked else ():
        shortage = ledger.shortage(asked, now_s)
        if shortage is not None:
            return shortage
    return Reservation(chain, asked)
