"""The decision: may this VM do this now? A ladder from the most general no to the reservation.

Where nothing decides, the answer is no. The whole chain of a grant is asked, so what an ancestor may not do,
nobody below it does. Pure but for the ledgers: the caller passes the time.
"""

from __future__ import annotations

from luahost.gate.grants import Grant
from luahost.gate.ledger import Shortage, reserve
from luahost.gate.permits import _SEAL, A, Action, Permit
from luahost.gate.rules import CHAIN_RULES, RULES, Refusal

__all__ = ["Refusal", "decide", "expired", "judge", "no_grant", "short"]


def no_grant(kind: str, *, child: bool = False) -> Refusal:
    """What the deny stub says; a child is told that its parent gives, not the operator."""
    giver = f"vm.grant(Grant({kind!r}))"
    way = f"its parent's spawn_child{{caps={{[{kind!r}]=true}}}}" if child else f"`--grant {kind}` or {giver}"
    return Refusal(
        kind="permission_denied",
        message=f"{kind} denied: this script was not granted {kind!r}; {way} allows it",
        rule="no_grant",
        grant=kind,
    )


def decide(grant: Grant, action: A, now_s: float) -> Permit[A] | Refusal:
    """A permit with its reservation made, or the refusal that decided."""
    refusal = judge(grant, action, now_s)
    if refusal is not None:
        return refusal
    reserved = reserve([each.ledger for each in grant.chain()], action.asks, now_s)
    if isinstance(reserved, Shortage):
        return short(grant.kind, reserved)
    return Permit(_SEAL, grant, action, reserved)


def judge(grant: Grant, action: Action, now_s: float) -> Refusal | None:
    """The rules without the budget; None when all of them allow it. Reserves nothing."""
    chain = grant.chain()
    for each in chain:
        if each.ledger.revoked is not None:
            return Refusal(
                kind="capability_revoked",
                message=f"{each.kind} denied: the grant was revoked ({each.ledger.revoked})",
                rule="revoked",
                grant=str(each),
            )
    expires = grant.expires_at_s()
    if expires is not None and now_s >= expires:
        return expired(grant)
    rule = RULES[grant.kind]
    for each in chain:
        refusal = rule(each.constraints, action)
        if refusal is not None:
            return refusal
    together = CHAIN_RULES.get(grant.kind)
    return None if together is None else together([each.constraints for each in chain], action)


def expired(grant: Grant) -> Refusal:
    return Refusal(
        kind="capability_expired",
        message=f"{grant.kind} denied: the grant has expired",
        rule="expires_in_s",
        limit=grant.constraints.expires_in_s,
        grant=str(grant),
    )


def short(kind: str, shortage: Shortage) -> Refusal:
    """A budget or the number of calls at a time does not reach."""
    if shortage.limit == "max_concurrency":
        return Refusal(
            kind="concurrency_limit",
            message=f"{kind} denied: {shortage.used} of {shortage.allowed} calls at a time are under way",
            rule=shortage.limit,
            limit=shortage.allowed,
            used=shortage.used,
            retryable=True,
        )
    if shortage.limit == "rate":
        return Refusal(
            kind="budget_exceeded",
            message=f"{kind} denied: the granted rate is used up; the next call fits in "
            f"{shortage.retry_after_s or 0:.3g} s",
            rule="rate",
            retry_after_s=shortage.retry_after_s,
            retryable=True,
        )
    left = max(0, shortage.allowed - shortage.used)
    wanted = "" if shortage.asked == 1 or not shortage.asked else f", {shortage.asked:g} asked for"
    return Refusal(
        kind="budget_exceeded",
        message=f"{kind} denied: {shortage.limit} is used up "
        f"({shortage.used:.12g} of {shortage.allowed:.12g}{wanted}, {left:.12g} left)",
        rule=shortage.limit,
        limit=shortage.allowed,
        used=shortage.used,
        grant=f"{kind}:{shortage.limit}={shortage.used + shortage.asked:.12g}",
    )
