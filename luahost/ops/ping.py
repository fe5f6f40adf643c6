"""orcs.llm_ping: is the server there, and does it take the key? No tokens, no session."""

from __future__ import annotations

import trio

from luahost.errors import WorldError
from luahost.gate.permits import LlmAction, Permit
from luahost.ops import results
from luahost.ops.llm_options import PingArgs
from luahost.ops.llm_plan import Plan
from luahost.ops.results import Result
from luahost.ops.world import Emit, Share
from luahost.wire.wires import wire


async def ping(permit: Permit[LlmAction], planned: Plan, args: PingArgs, share: Share, emit: Emit | None) -> Result:
    """Is the server there, and does it take the key? No tokens, no session."""
    world = share.world
    began = world.monotonic_s()
    about = {"provider": planned.provider.name, "base_url": str(permit.action.origin)}
    headers = wire(planned.provider.wire, planned.provider.name).auth_headers(planned.key)
    try:
        with trio.fail_after(args.opts.timeout):
            client = await world.client()
            async with client.open(
                "GET",
                permit.action.origin,
                planned.prefix + planned.provider.health_path,
                headers,
                None,
                connect_timeout_s=args.opts.timeout,
                may_be_private=planned.may_be_private,
                owner=share.owner,
            ) as answer:
                status = answer.status
    except WorldError as error:
        return {**results.from_world(error), **about, "reachable": False}
    except trio.TooSlowError:
        message = f"no answer within {args.opts.timeout:g} s"
        return {**results.error("timeout", message, retryable=True), **about, "reachable": False}
    seen: Result = {
        **about,
        "reachable": True,
        "authorized": status not in (401, 403) and not planned.missing_key,
        "status": status,
        "latency_ms": round((world.monotonic_s() - began) * 1000, 3),
    }
    if 200 <= status < 300:
        return {"ok": True, **seen}
    kind = {401: "auth_error", 403: "auth_error", 404: "not_found", 429: "rate_limit"}.get(
        status, "server_error" if status >= 500 else "http_error"
    )
    return {**results.error(kind, f"the server answered {status}", status=status), **seen}
