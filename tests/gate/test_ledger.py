"""Ledgers: all or none along a chain, never below zero, settled once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from luahost.gate.ledger import Ledger, Limit, Reservation, Shortage, reserve

limits = st.builds(
    Limit,
    max_calls=st.none() | st.integers(0, 4),
    max_tokens=st.none() | st.integers(0, 50),
    max_concurrency=st.none() | st.integers(0, 3),
)


def snapshot(ledger: Ledger) -> tuple[int, ...]:
    return (ledger.calls, ledger.tokens, ledger.tokens_reserved, ledger.running, len(ledger.flights))


class Tree(RuleBasedStateMachine):
    """A root, branches under it, calls anywhere: whatever the order, the sums are right."""

    chains = Bundle("chains")
    flights = Bundle("flights")

    def __init__(self) -> None:
        super().__init__()
        self.ledgers: list[Ledger] = []

    @rule(target=chains, limit=limits)
    def root(self, limit: Limit) -> list[Ledger]:
        self.ledgers.append(Ledger(limit))
        return [self.ledgers[-1]]

    @rule(target=chains, parent=chains, limit=limits)
    def branch(self, parent: list[Ledger], limit: Limit) -> list[Ledger]:
        self.ledgers.append(Ledger(limit))
        return [self.ledgers[-1], *parent]

    @rule(target=flights, chain=chains, tokens=st.integers(0, 30))
    def begin(self, chain: list[Ledger], tokens: int) -> Any:
        before = [snapshot(ledger) for ledger in chain]
        reserved = reserve(chain, tokens)
        if isinstance(reserved, Shortage):
            assert [snapshot(ledger) for ledger in chain] == before, "all or none"
            assert reserved.used + reserved.asked > reserved.allowed
        else:
            assert all(ledger.running == was[3] + 1 for ledger, was in zip(chain, before, strict=True))
        return reserved

    @rule(flight=consumes(flights), tokens=st.integers(-5, 60), twice=st.booleans())
    def settle(self, flight: Any, tokens: int, twice: bool) -> None:
        if isinstance(flight, Reservation):
            flight.settle(tokens)
            if twice:
                flight.settle(tokens)
                flight.release()

    @rule(flight=consumes(flights), twice=st.booleans())
    def release(self, flight: Any, twice: bool) -> None:
        if isinstance(flight, Reservation):
            flight.release()
            if twice:
                flight.release()
                flight.settle(1000)

    @invariant()
    def nothing_is_below_zero_or_over_its_cap(self) -> None:
        for ledger in self.ledgers:
            assert min(snapshot(ledger)) >= 0
            assert ledger.running == len(ledger.flights)
            limit = ledger.limit
            assert limit.max_calls is None or ledger.calls <= limit.max_calls
            assert limit.max_concurrency is None or ledger.running <= limit.max_concurrency
            assert all(left >= 0 for left in ledger.remaining().values())


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_two_children_that_race_for_the_last_call_cannot_both_win() -> None:
    root = Ledger(Limit(max_calls=1))
    one, two = Ledger(Limit(max_calls=5)), Ledger(Limit(max_calls=5))
    assert isinstance(reserve([one, root], 0), Reservation)
    short = reserve([two, root], 0)
    assert short == Shortage("max_calls", 1, 1, 1)
    assert snapshot(two) == (0, 0, 0, 0, 0)


def test_a_released_call_can_be_made_again_and_a_settled_one_cannot() -> None:
    ledger = Ledger(Limit(max_calls=1))
    reserve([ledger], 0).release()  # type: ignore[union-attr]
    reserve([ledger], 0).settle(7)  # type: ignore[union-attr]
    assert isinstance(reserve([ledger], 0), Shortage)
    assert ledger.usage() == {"calls": 1, "tokens": 7, "running": 0}


@given(st.integers(0, 100), st.integers(0, 200))
def test_what_was_used_over_the_reservation_is_recorded_and_stops_the_next_call(asked: int, used: int) -> None:
    ledger = Ledger(Limit(max_tokens=100))
    reserve([ledger], asked).settle(used)  # type: ignore[union-attr]
    assert ledger.tokens == used and ledger.tokens_reserved == 0
    assert ledger.remaining()["tokens"] == max(0, 100 - used)
    assert isinstance(reserve([ledger], 101 - min(used, 100)), Shortage)


@pytest.mark.parametrize("name", ["max_calls", "max_tokens", "max_concurrency"])
def test_a_cap_of_zero_allows_nothing(name: str) -> None:
    assert isinstance(reserve([Ledger(Limit(**{name: 0}))], 1), Shortage)
