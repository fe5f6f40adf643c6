"""What a VM holds, told to itself: orcs.caps() and orcs.can(kind, detail). Ungated, read-only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from luahost.gate.constraints import KINDS
from luahost.gate.grants import Grant
from luahost.gate.permits import Action
from luahost.gate.policy import Refusal, judge, no_grant, short
from luahost.ops import exec, http, results
from luahost.ops.children import spawning
from luahost.ops.files import calls as files
from luahost.ops.llm import plan as llm_plan
from luahost.ops.mcp import calls as mcp
from luahost.ops.results import Result
from luahost.ops.world import Share

WISHES: dict[str, Callable[[Share, dict[str, Any]], Action | Result]] = {
    "llm": llm_plan.wish,
    "exec": exec.wish,
    "http": http.wish,
    "mcp": mcp.wish,
    **{kind: partial(files.wish, kind) for kind in ("fs.read", "fs.write", "fs.delete")},
    "spawn": spawning.wish,
}
"""Kind → the action that a detail of orcs.can(kind, detail) describes, or why it is none."""


class CanArgs(msgspec.Struct, frozen=True):
    kind: str
    detail: dict[str, Any] | None = None


def caps(share: Share, args: None) -> dict[str, Any]:
    """{kind = {constraints, used, remaining, expires_in}} of what is held now."""
    return {
        kind: _describe(grant, share.world.monotonic_s())
        for kind, grant in share.grants.items()
        if not grant.is_revoked
    }


def can(share: Share, args: CanArgs) -> dict[str, Any]:
    """{allow, rule, …}: what the gate would say; reserves nothing, sends nothing."""
    if args.kind not in KINDS:
        error = f"no such kind: {args.kind[:80]}"
        return {"allow": False, "error_kind": "unknown_capability", "rule": "unknown", "error": error}
    grant = share.grants.get(args.kind)
    if grant is None:
        return _no(no_grant(args.kind, child=share.depth > 0))
    action = WISHES[args.kind](share, args.detail or {})
    if isinstance(action, dict):
        error, kind = action["error"], action["error_kind"]
        return {"allow": False, "error": error, "error_kind": kind, "rule": action["detail"].get("field", "")}
    refusal = judge(grant, action, share.world.monotonic_s())
    if refusal is None:
        asked = action.asks
        for each in grant.chain():
            shortage = each.ledger.shortage(asked, share.world.monotonic_s()) if asked else None
            if shortage is not None:
                return _no(short(grant.kind, shortage))
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
