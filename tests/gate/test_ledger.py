"""Ledgers: all or none along a chain, never below zero, settled once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from luahost.gate.ledger import DIMENSIONS, Ledger, Reservation, Shortage, reserve

caps = st.fixed_dictionaries({}, optional={"calls": st.integers(0, 4), "tokens": st.integers(0, 50)})
at_a_time = st.none() | st.integers(0, 3)


def asking(tokens: int) -> dict[str, int]:
    return {"calls": 1, "tokens": tokens}


def snapshot(ledger: Ledger) -> tuple[int, ...]:
    counted = (amount for name in DIMENSIONS for amount in (ledger.used[name], ledger.reserved[name]))
    return (ledger.running, len(ledger.flights), *counted)


class Tree(RuleBasedStateMachine):
    """A root, branches under it, calls anywhere: whatever the order, the sums are right."""

    chains = Bundle("chains")
    flights = Bundle("flights")

    def __init__(self) -> None:
        super().__init__()
        self.ledgers: list[Ledger] = []

    @rule(target=chains, caps=caps, at_a_time=at_a_time)
    def root(self, caps: dict[str, int], at_a_time: int | None) -> list[Ledger]:
        self.ledgers.append(Ledger(caps, at_a_time))
        return [self.ledgers[-1]]

    @rule(target=chains, parent=chains, caps=caps, at_a_time=at_a_time)
    def branch(self, parent: list[Ledger], caps: dict[str, int], at_a_time: int | None) -> list[Ledger]:
        self.ledgers.append(Ledger(caps, at_a_time))
        return [self.ledgers[-1], *parent]

    @rule(target=flights, chain=chains, tokens=st.integers(0, 30))
    def begin(self, chain: list[Ledger], tokens: int) -> Any:
        before = [snapshot(ledger) for ledger in chain]
        reserved = reserve(chain, asking(tokens))
        if isinstance(reserved, Shortage):
            assert [snapshot(ledger) for ledger in chain] == before, "all or none"
            assert reserved.used + reserved.asked > reserved.allowed
        else:
            assert all(ledger.running == was[0] + 1 for ledger, was in zip(chain, before, strict=True))
        return reserved

    @rule(flight=consumes(flights), tokens=st.integers(-5, 60), twice=st.booleans())
    def settle(self, flight: Any, tokens: int, twice: bool) -> None:
        if isinstance(flight, Reservation):
            flight.settle(tokens=tokens)
            if twice:
                flight.settle(tokens=tokens)
                flight.release()

    @rule(flight=consumes(flights), twice=st.booleans())
    def release(self, flight: Any, twice: bool) -> None:
        if isinstance(flight, Reservation):
            flight.release()
            if twice:
                flight.release()
                flight.settle(tokens=1000)

    @invariant()
    def nothing_is_below_zero_or_over_its_cap(self) -> None:
        for ledger in self.ledgers:
            assert min(snapshot(ledger)) >= 0
            assert ledger.running == len(ledger.flights)
            assert ledger.usage()["calls"] <= ledger.caps.get("calls", ledger.usage()["calls"])
            assert ledger.max_concurrency is None or ledger.running <= ledger.max_concurrency
            assert all(left >= 0 for left in ledger.remaining().values())


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_two_children_that_race_for_the_last_call_cannot_both_win() -> None:
    root = Ledger({"calls": 1})
    one, two = Ledger({"calls": 5}), Ledger({"calls": 5})
    assert isinstance(reserve([one, root], asking(0)), Reservation)
    short = reserve([two, root], asking(0))
    assert short == Shortage("max_calls", 1, 1, 1)
    assert not any(snapshot(two))


def test_a_released_call_can_be_made_again_and_a_settled_one_cannot() -> None:
    ledger = Ledger({"calls": 1})
    reserve([ledger], asking(0)).release()  # type: ignore[union-attr]
    reserve([ledger], asking(0)).settle(tokens=7)  # type: ignore[union-attr]
    assert isinstance(reserve([ledger], asking(0)), Shortage)
    assert ledger.usage() == {"calls": 1, "tokens": 7, "bytes": 0, "running": 0}


@given(st.integers(0, 100), st.integers(0, 200))
def test_what_was_used_over_the_reservation_is_recorded_and_stops_the_next_call(asked: int, used: int) -> None:
    ledger = Ledger({"tokens": 100})
    reserve([ledger], asking(asked)).settle(tokens=used)  # type: ignore[union-attr]
    assert ledger.used["tokens"] == used and ledger.reserved["tokens"] == 0
    assert ledger.remaining()["tokens"] == max(0, 100 - used)
    assert isinstance(reserve([ledger], asking(101 - min(used, 100))), Shortage)


@pytest.mark.parametrize("ledger", [Ledger({"calls": 0}), Ledger({"tokens": 0}), Ledger({}, 0)])
def test_a_cap_of_zero_allows_nothing(ledger: Ledger) -> None:
    assert isinstance(reserve([ledger], asking(1)), Shortage)
