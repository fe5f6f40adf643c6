"""The decision: may this VM do this now? A ladder from the most general no to the reservation.

Where nothing decides, the answer is no. The whole chain of a grant is asked, so what an ancestor may not do,
nobody below it does. Pure but for the ledgers: the caller passes the time.
"""

from __future__ import annotations

import msgspec

from luahost.gate import hosts
from luahost.gate.grants import Grant, matches
from luahost.gate.ledger import Shortage, reserve
from luahost.gate.permits import _SEAL, LlmAction, Permit


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A no: the word for scripts, one clear line, the rule that decided, and grant text that would allow it."""

    kind: str
    message: str
    rule: str
    limit: str | int | float | None = None
    used: int | None = None
    grant: str = ""
    retryable: bool = False


def no_grant(kind: str) -> Refusal:
    """What the deny stub says."""
    return Refusal(
        kind="permission_denied",
        message=f"{kind} denied: this script was not granted {kind!r}; `--grant {kind}` or "
        f"vm.grant(Grant.{kind}()) allows it",
        rule="no_grant",
        grant=kind,
    )


def decide(grant: Grant, action: LlmAction, now_s: float) -> Permit | Refusal:
    """A permit with its reservation made, or the refusal that decided."""
    refusal = judge(grant, action, now_s)
    if refusal is not None:
        return refusal
    if not action.costs:
        return Permit(_SEAL, grant, action, None)
    reserved = reserve([each.ledger for each in grant.chain()], action.tokens)
    if isinstance(reserved, Shortage):
        return _short(grant.kind, reserved)
    return Permit(_SEAL, grant, action, reserved)


def judge(grant: Grant, action: LlmAction, now_s: float) -> Refusal | None:
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
    kind = grant.kind
    for each in chain:
        rule = each.constraints
        if rule.providers is not None and not matches(rule.providers, action.provider):
            return _outside("permission_denied", "provider", action.provider, each, "providers")
        if rule.models is not None and action.model is not None and not matches(rule.models, action.model):
            return _outside("model_not_allowed", "model", action.model, each, "models")
        if rule.hosts is not None and not hosts.names(rule.hosts, action.origin):
            return _outside("host_not_allowed", "host", str(action.origin), each, "hosts")
    if action.own_base_url and all(each.constraints.hosts is None for each in chain):
        return Refusal(
            kind="host_not_allowed",
            message=f"{kind} denied: the script named the host {action.origin}, and its grant lists no hosts; "
            f"`{kind}:hosts={_entry(action.origin)}` allows it",
            rule="hosts",
            grant=f"{kind}:hosts={_entry(action.origin)}",
        )
    return None


def expired(grant: Grant) -> Refusal:
    return Refusal(
        kind="capability_expired",
        message=f"{grant.kind} denied: the grant has expired",
        rule="expires_in_s",
        limit=grant.constraints.expires_in_s,
        grant=str(grant),
    )


def _outside(error_kind: str, what: str, got: str, grant: Grant, rule: str) -> Refusal:
    allowed = getattr(grant.constraints, rule)
    return Refusal(
        kind=error_kind,
        message=f"{grant.kind} denied: the {what} {got[:200]!r} is not among the granted {rule} "
        f"({', '.join(allowed) or 'none'})",
        rule=rule,
        limit=",".join(allowed),
        grant=f"{grant.kind}:{rule}={got[:200]}",
    )


def _short(kind: str, short: Shortage) -> Refusal:
    if short.limit == "max_concurrency":
        return Refusal(
            kind="concurrency_limit",
            message=f"{kind} denied: {short.used} of {short.allowed} calls at a time are under way",
            rule=short.limit,
            limit=short.allowed,
            used=short.used,
            retryable=True,
        )
    left = max(0, short.allowed - short.used)
    wanted = "" if short.asked <= 1 else f", {short.asked} asked for"
    return Refusal(
        kind="budget_exceeded",
        message=f"{kind} denied: {short.limit} is used up ({short.used} of {short.allowed}{wanted}, {left} left)",
        rule=short.limit,
        limit=short.allowed,
        used=short.used,
        grant=f"{kind}:{short.limit}={short.used + short.asked}",
    )


def _entry(origin: hosts.Origin) -> str:
    text = str(origin)
    return text.removeprefix("https://") if not origin.is_loopback else text.partition("://")[2]
