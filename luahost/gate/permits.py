"""The proof that an act was allowed. A function that touches the world takes one as its first argument.

Only the gate makes permits (policy.decide); there is nothing in a worker or a script from which one could be
made. A permit is good for the one act it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from luahost.gate.grants import Grant
from luahost.gate.hosts import Origin
from luahost.gate.ledger import ONE_CALL, Reservation

_SEAL = object()


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An act a script asks for, as the gate judges it. Each kind of grant has a struct of its own below this."""

    @property
    def asks(self) -> Mapping[str, int]:
        """What is reserved of each dimension; empty: it takes nothing from a budget and has no reservation."""
        return ONE_CALL

    def about(self) -> dict[str, Any]:
        """What it is about, in the words of the audit and of a refusal's detail."""
        raise NotImplementedError


class LlmAction(Action, frozen=True, kw_only=True):
    """Where a call would go, and what it would use at most."""

    provider: str
    model: str | None  # None: no model is used, as for a ping
    origin: Origin
    own_base_url: bool  # the script named the URL itself
    tokens: int  # prompt estimate and answer limit together
    costs: bool = True  # False: a ping, which takes no call from the budget

    @property
    def asks(self) -> Mapping[str, int]:
        return {"calls": 1, "tokens": self.tokens} if self.costs else {}

    def about(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model, "host": str(self.origin)}


A = TypeVar("A", bound=Action)


class Permit(Generic[A]):
    """One allowed act, and the reservation it runs on."""

    __slots__ = ("action", "grant", "reservation")

    def __init__(self, seal: object, grant: Grant, action: A, reservation: Reservation | None) -> None:
        if seal is not _SEAL:
            raise TypeError("only the gate makes permits")
        self.grant, self.action, self.reservation = grant, action, reservation
