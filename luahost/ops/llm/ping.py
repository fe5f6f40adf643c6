"""orcs.llm_ping: is the server there, and does it take the key? orcs.llm_models: which models does it have?

One GET each, no tokens, no session, nothing of a budget; under the same grant and the same guard of addresses as a
call, as either would make a port scanner otherwise. Sources: LLM_WIRE.md C8, O48, U22.
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from luahost.errors import WorldError
from luahost.gate.permits import LlmAction, Permit
from luahost.gate.sorts import matches
from luahost.ops import results
from luahost.ops.llm.options import PingArgs
from luahost.ops.llm.plan import Plan
from luahost.ops.results import Result
from luahost.ops.world import Emit, Share
from luahost.wire.lenient import is_heavy

MAX_LISTING_BYTES = 4 * 1024 * 1024
MAX_MODELS = 5000

_KINDS = {401: "auth_error", 403: "auth_error", 404: "not_found", 429: "rate_limit"}


async def ping(permit: Permit[LlmAction], planned: Plan, args: PingArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, reachable, authorized, status, latency_ms}; ok is true only for a 2xx."""
    return await _get(permit, planned, args, share, path=planned.provider.health_path)


async def models(
    permit: Permit[LlmAction], planned: Plan, args: PingArgs, share: Share, emit: Emit | None
) -> Result:
    """As ping, and `models`: their names, of which only those that the grant allows are shown."""
    body: list[bytes] = []
    await share.world.client(planned.provider)
    path = planned.provider.spoken.models_path
    result = await _get(permit, planned, args, share, path=path, body=body)
    if not result["ok"]:
        return result
    names = _names(b"".join(body))
    if names is None:
        seen = {name: value for name, value in result.items() if name != "ok"}
        return {**results.error("parse_error", "the server's list of models is none", retryable=True), **seen}
    granted = permit.grant.said("models")
    allowed = [name for name in names if all(matches(patterns, name) for patterns in granted)]
    return {**result, "models": allowed[:MAX_MODELS]}


def _names(body: bytes) -> list[str] | None:
    """OpenAI and Anthropic list under `data` by `id`, Gemini and Ollama under `models` by `name`."""
    if is_heavy(body):
        return None
    try:
        listing = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    entries: Any = listing
    if isinstance(listing, dict):
        entries = listing["data"] if "data" in listing else listing.get("models")
    if not isinstance(entries, list):
        return None
    named = (each.get("id") or each.get("name") for each in entries if isinstance(each, dict))
    return sorted({name.removeprefix("models/")[:200] for name in named if isinstance(name, str)})


async def _get(
    permit: Permit[LlmAction],
    planned: Plan,
    args: PingArgs,
    share: Share,
    *,
    path: str,
    body: list[bytes] | None = None,
) -> Result:
    """What a GET of this path says of the server; the answer's body goes into `body`, where it is wanted."""
    world = share.world
    began = world.monotonic_s()
    about = {"provider": planned.provider.name, "base_url": str(permit.action.origin)}
    try:
        with trio.fail_after(args.opts.timeout):
            client = await world.client(planned.provider)
            async with client.open(
                "GET",
                permit.action.origin,
                planned.prefix + path,
                planned.provider.spoken.auth_headers(planned.key),
                None,
                connect_timeout_s=args.opts.timeout,
                may_be_private=planned.may_be_private,
                owner=share.owner,
            ) as answer:
                status = answer.status
                if body is not None and 200 <= status < 300:
                    size = 0
                    while (piece := await answer.receive()) is not None:
                        size += len(piece)
                        if size > MAX_LISTING_BYTES:
                            raise WorldError(f"the list is larger than {MAX_LISTING_BYTES} bytes", kind="too_large")
                        body.append(piece)
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
    kind = _KINDS.get(status, "server_error" if status >= 500 else "http_error")
    return {**results.error(kind, f"the server answered {status}", status=status), **seen}
