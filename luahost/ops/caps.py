"""What a VM holds, told to itself: orcs.caps() and orcs.can(kind, detail). Ungated, read-only."""

from __future__ import annotations

from typing import Any

import msgspec

from luahost.gate.grants import KINDS, Grant
from luahost.gate.permits import LlmAction
from luahost.gate.policy import Refusal, judge, no_grant
from luahost.ops import results
from luahost.ops.world import Share


class CanArgs(msgspec.Struct, frozen=True):
    kind: str
    detail: dict[str, Any] | None = None


def caps(share: Share, args: None) -> dict[str, Any]:
    """{kind = {constraints, used, remaining, expires_in}} of what is held now."""
    return {kind: _describe(grant, share.world.monotonic_s()) for kind, grant in share.grants.items()}


def can(share: Share, args: CanArgs) -> dict[str, Any]:
    """{allow, rule, …}: what the gate would say; reserves nothing, sends nothing."""
    if args.kind not in KINDS:
        return {
            "allow": False,
            "error_kind": "unknown_capability",
            "rule": "unknown",
            "error": f"no such kind: {args.kind[:80]}",
        }
    grant = share.grants.get(args.kind)
    if grant is None:
        return _no(no_grant(args.kind))
    detail = args.detail or {}
    world = share.world
    name = detail.get("provider") or world.default_provider
    provider = world.providers.get(name) if isinstance(name, str) else None
    if provider is None:
        return {
            "allow": False,
            "error_kind": "invalid_options",
            "rule": "provider",
            "error": "no such provider",
        }
    model = detail.get("model") or world.default_model or provider.model
    action = LlmAction(
        provider=provider.name,
        model=model if isinstance(model, str) else None,
        origin=provider.origin,
        own_base_url=False,
        tokens=0,
    )
    refusal = judge(grant, action, world.monotonic_s())
    if refusal is None:
        for each in grant.chain():
            short = each.ledger.shortage(0)
            if short is not None:
                return {
                    "allow": False,
                    "error_kind": "budget_exceeded",
                    "rule": short.limit,
                    "limit": short.allowed,
                    "used": short.used,
                }
        return {"allow": True}
    return _no(refusal)


def _no(refusal: Refusal) -> dict[str, Any]:
    answer = results.refused("", refusal)
    return {"allow": False, "error": answer["error"], "error_kind": answer["error_kind"], **answer["detail"]}


def _describe(grant: Grant, now_s: float) -> dict[str, Any]:
    described: dict[str, Any] = {
        "constraints": msgspec.to_builtins(grant.constraints),
        "used": grant.usage(),
        "remaining": grant.remaining(),
    }
    expires = grant.expires_at_s()
    if expires is not None:
        described["expires_in"] = max(0.0, expires - now_s)
    return described
