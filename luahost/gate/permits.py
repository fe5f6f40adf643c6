"""The proof that an act was allowed. A function that touches the world takes one as its first argument.

Only the gate makes permits (policy.decide); there is nothing in a worker or a script from which one could be
made. A permit is good for the one act it names.
"""

from __future__ import annotations

import msgspec

from luahost.gate.grants import Grant
from luahost.gate.hosts import Origin
from luahost.gate.ledger import Reservation

_SEAL = object()


class LlmAction(msgspec.Struct, frozen=True, kw_only=True):
    """The act a script asks for, as the gate judges it: where it would go, and what it would use at most."""

    provider: str
    model: str | None  # None: no model is used, as for a ping
    origin: Origin
    own_base_url: bool  # the script named the URL itself
    tokens: int  # prompt estimate and answer limit together
    costs: bool = True  # False: a ping, which takes no call from the budget


class Permit:
    """One allowed act, and the reservation it runs on."""

    __slots__ = ("action", "grant", "reservation")

    def __init__(self, seal: object, grant: Grant, action: LlmAction, reservation: Reservation | None) -> None:
        if seal is not _SEAL:
            raise TypeError("only the gate makes permits")
        self.grant, self.action, self.reservation = grant, action, reservation
