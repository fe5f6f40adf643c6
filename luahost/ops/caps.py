"""What a VM holds, told to itself, and the asking for more: orcs.caps, can, request_capability. All ungated.

Only request_capability changes anything, and only what the host's approver says and its ceiling allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate.constraints import KINDS
from luahost.gate.grants import Grant
from luahost.gate.permits import Action
from luahost.gate.policy import Refusal, judge, no_grant, short
from luahost.ops import exec, http, results
from luahost.ops.approval import MAX_REASON_CHARS, AllowFor, ApprovalRequest
from luahost.ops.children import spawning
from luahost.ops.files import calls as files
from luahost.ops.llm import plan as llm_plan
from luahost.ops.mcp import calls as mcp
from luahost.ops.results import Result
from luahost.ops.world import Share
from luahost.values import nearest

WISHES: dict[str, Callable[[Share, dict[str, Any]], Action | Result]] = {
    "llm": llm_plan.wish,
    "exec": exec.wish,
    "http": http.wish,
    "mcp": mcp.wish,
    **{kind: partial(files.wish, kind) for kind in ("fs.read", "fs.write", "fs.delete")},
    "spawn": spawning.wish,
}
"""Kind → the action that a detail of orcs.can(kind, detail) describes, or why it is none."""


MAX_TTL_S = 1e9
"""An answer for a longer time, or for ever, is one for so many seconds."""


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


# ── asking for more ─────────────────────────────────────────────────────────────────────────────────────


class CapabilityArgs(msgspec.Struct, frozen=True):
    kind: str
    constraints: dict[str, Any] = {}
    reason: str = ""


async def request_capability(share: Share, args: CapabilityArgs) -> Result:
    """{ok, kind, grant}: a grant of this kind, if the approver says so, below what the host set as its ceiling."""
    if args.kind not in KINDS:
        return results.invalid("kind", f"one of {', '.join(KINDS)} expected{nearest(args.kind, KINDS)}")
    ceiling = share.ceiling.get(args.kind)
    if ceiling is None:
        message = f"{args.kind} denied: the host set no ceiling for it, so it cannot be asked for"
        return _audited(share, args, Refusal(kind="permission_denied", message=message, rule="ceiling"))
    try:
        wanted = ceiling.attenuate(**args.constraints)
    except (ConfigError, TypeError) as error:
        text = error.message if isinstance(error, ConfigError) else str(error)
        if isinstance(error, ConfigError) and error.kind == "capability_widening":
            return _audited(share, args, Refusal(kind=error.kind, message=text, rule="ceiling"))
        return results.invalid("constraints", text)
    data = msgspec.json.encode([args.kind, args.constraints], order="deterministic")
    request = ApprovalRequest(
        vm=share.program.name,
        kind=args.kind,
        action="request_capability",
        about={"grant": str(wanted)},
        args=args.constraints,
        args_sha256=hashlib.sha256(data).hexdigest(),
        reason=args.reason[:MAX_REASON_CHARS],
    )
    answer = await share.approvals.ask(request)
    if isinstance(answer, Refusal):
        return _audited(share, args, answer)
    if isinstance(answer, AllowFor):
        said_s = wanted.constraints.expires_in_s or MAX_TTL_S
        wanted = wanted.attenuate(expires_in_s=min(answer.ttl_s, said_s, MAX_TTL_S))
    elif wanted.constraints.max_calls is None:
        wanted = wanted.attenuate(max_calls=1)  # once is one call
    share.program.grant(wanted)
    share.audit(capability=args.kind, action="request_capability", rule="approved", grant=str(wanted))
    return {"ok": True, "kind": args.kind, "grant": str(wanted)}


def _audited(share: Share, args: CapabilityArgs, refusal: Refusal) -> Result:
    share.audit(
        capability=args.kind,
        action="request_capability",
        decision="deny",
        rule=refusal.rule,
        error_kind=refusal.kind,
    )
    return results.refused(args.kind, refusal)
