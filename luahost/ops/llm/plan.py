"""The plan of a call of orcs.llm or orcs.llm_ping: which server, model and key, from what the script said.

Planning touches nothing; the gate judges the plan. A script's own key goes where it says, if the grant lists that
host; the host's key goes to its provider's own origin and nowhere else.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate.hosts import parse_base_url
from luahost.gate.permits import LlmAction
from luahost.ops import results
from luahost.ops.files import reach
from luahost.ops.llm import budget, prices
from luahost.ops.llm import options as llm_options
from luahost.ops.llm.options import MAX_TIMEOUT_S, LlmArgs, LlmOptions, PingArgs, Route
from luahost.ops.llm.providers import ALIASES, Provider, without_version
from luahost.ops.results import Result
from luahost.ops.world import Planned, Share
from luahost.transport.settings import Deadlines
from luahost.values import nearest
from luahost.wire.events import Usage
from luahost.wire.retry import RULES, RetryPolicy

_KEY = re.compile(r"[!-~]{1,1000}")

_MORE_KINDS = ("missing_api_key", "model_not_allowed", "host_not_allowed", "permission_denied", "budget_exceeded")


class Plan(Planned, frozen=True, kw_only=True):
    """What a call would do. `key` is None when none is sent."""

    action: LlmAction
    provider: Provider
    prefix: str
    key: str | None
    missing_key: bool
    may_be_private: bool  # the operator named this very address
    max_tokens: int | None = None  # what is asked of the server
    deadlines: Deadlines = Deadlines()
    policy: RetryPolicy = RetryPolicy()


def plan(share: Share, args: LlmArgs) -> Plan | Result:
    """The call as the gate will judge it, or invalid_options naming the field."""
    opts, world = args.opts, share.world
    target = _target(share, opts.provider, opts.base_url, opts.api_key)
    if not isinstance(target, Plan):
        return target
    model = opts.model or (world.default_model if opts.provider is None else None) or target.provider.model
    if model is None:
        return results.invalid("model", f"a model expected: the provider {target.provider.name} has no default")
    problem = llm_options.problem(args) or _routes(share, opts) or _linked(target, opts)
    if problem is not None:
        return problem
    files = [reach.action(share, "fs.read", each.path) for each in opts.images or () if each.path is not None]
    for each in files:
        if isinstance(each, dict):
            return each
    session = share.sessions.get(opts.session_id) if opts.session_id else None
    asked = budget.prompt_tokens(session, args)
    answer = budget.answer_limit(share, target.provider, model, asked, opts.max_tokens)
    cost: int | None = 0
    if budget.caps_cost(share):
        cost = prices.microusd(target.provider, model, Usage(input=asked, output=answer or 1))
    streams = args.streamed if opts.stream is None else opts.stream
    action = msgspec.structs.replace(
        target.action,
        model=model,
        input_tokens=asked,
        output_tokens=answer or 1,
        cost_microusd=cost,
        costs=True,
        streams=streams,
        tools=tuple(tool.name for tool in opts.tools or ()),
        tool_turns=budget.tool_turns(session, bool(opts.tool_results)),
        extra=llm_options.extra_names(opts),
    )
    return msgspec.structs.replace(
        target,
        action=action,
        also=tuple(each for each in files if not isinstance(each, dict)),
        max_tokens=answer,
        deadlines=_deadlines(share, opts, target.provider),
        policy=_policy(opts, target.provider),
    )


def _routes(share: Share, opts: LlmOptions) -> Result | None:
    """What fallback says makes sense: each of its entries by itself, before anything is sent."""
    for number, entry in enumerate(opts.fallback or (), 1):
        field = f"fallback[{number}]"
        provider, model = route(entry)
        if provider is None and model is None:
            return results.invalid(field, 'a text like "provider/model", or {provider, model}, expected')
        found = _provider(share, provider, f"{field}.provider")
        if isinstance(found, dict):
            return found
        if model is None and found.model is None:
            return results.invalid(f"{field}.model", f"a model expected: {found.name} has no default")
        for problem in llm_options.model_problem(f"{field}.model", model) if model is not None else ():
            return problem
    known = (*RULES, *_MORE_KINDS)
    for kind in opts.fallback_on or ():
        if kind not in known:
            return results.invalid(
                "fallback_on", f"kinds of errors expected, got {kind[:80]!r}{nearest(kind, known)}"
            )
    return None


def route(entry: str | Route) -> tuple[str | None, str | None]:
    """Provider and model of one entry of fallback; "provider/model", "provider/" and "provider" are texts of it."""
    if isinstance(entry, Route):
        return entry.provider, entry.model
    provider, _, model = entry.partition("/")
    return provider or None, model or None


def _linked(target: Plan, opts: LlmOptions) -> Result | None:
    """A server inside this network would fetch a URL from inside it: it gets bytes (U22)."""
    if not target.action.origin.is_literal:
        return None
    for number, picture in enumerate(opts.images or (), 1):
        if picture.url is not None:
            text = f"the server {target.action.origin} is inside this network and is not sent URLs; give data"
            return results.invalid(f"images[{number}].url", text)
    return None


def _deadlines(share: Share, opts: LlmOptions, provider: Provider) -> Deadlines:
    """The script's own limits, then the provider's; never longer than its grants let a call take."""
    default = provider.deadlines
    first = opts.first_token_timeout if opts.first_token_timeout is not None else opts.timeout
    idle = opts.idle_timeout if opts.idle_timeout is not None else opts.timeout
    overall = opts.overall_timeout if opts.overall_timeout is not None else default.overall_s
    longest = share.grants["llm"].said("max_timeout_s") if "llm" in share.grants else []
    return Deadlines(
        connect_s=opts.connect_timeout if opts.connect_timeout is not None else default.connect_s,
        first_token_s=first if first is not None else default.first_token_s,
        idle_s=idle if idle is not None else default.idle_s,
        overall_s=min([overall, *longest]),
    )


def _policy(opts: LlmOptions, provider: Provider) -> RetryPolicy:
    if opts.max_retries is None:
        return provider.retry
    return msgspec.structs.replace(provider.retry, max_retries=opts.max_retries)


def plan_ping(share: Share, args: PingArgs) -> Plan | Result:
    opts = args.opts
    if not 0 < opts.timeout <= MAX_TIMEOUT_S:
        return results.invalid("timeout", f"seconds above 0, at most {MAX_TIMEOUT_S:g} expected")
    return _target(share, opts.provider, opts.base_url, opts.api_key)


def wish(share: Share, detail: dict[str, Any]) -> LlmAction | Result:
    """The call that orcs.can("llm", {provider, model}) asks about: one that takes no tokens."""
    provider, model = detail.get("provider"), detail.get("model")
    for name, value in (("provider", provider), ("model", model)):
        if value is not None and not isinstance(value, str):
            return results.invalid(name, "a text expected")
    target = _target(share, provider, None, None)
    if not isinstance(target, Plan):
        return target
    model = model or (share.world.default_model if provider is None else None) or target.provider.model
    priced = not budget.caps_cost(share) or (
        model is not None and prices.microusd(target.provider, model, Usage(input=0, output=1)) is not None
    )
    return msgspec.structs.replace(target.action, model=model, costs=True, cost_microusd=0 if priced else None)


def _provider(share: Share, name: str | None, field: str) -> Provider | Result:
    providers = share.world.providers
    wanted = name or share.world.default_provider
    for spelt in (wanted, wanted.lower(), ALIASES.get(wanted.lower(), "")):
        if spelt in providers:
            return providers[spelt]
    known = ", ".join(providers)
    return results.invalid(field, f"one of {known} expected, got {wanted[:80]!r}{nearest(wanted, providers)}")


def _target(share: Share, name: str | None, base_url: str | None, api_key: str | None) -> Plan | Result:
    provider = _provider(share, name, "provider")
    if isinstance(provider, dict):
        return provider
    origin, prefix = provider.origin, provider.prefix
    if base_url is not None:
        try:
            origin, prefix = parse_base_url(base_url)
        except ConfigError as error:
            return results.invalid("base_url", error.message.removeprefix("base_url: "))
        prefix = without_version(prefix)
    if api_key is not None and not _KEY.fullmatch(api_key):
        return results.invalid("api_key", "printable characters without spaces expected")
    own = origin != provider.origin
    # A name in a grant allows its public addresses; a private one must be there as an address, or localhost.
    private = provider.may_be_private if not own else origin.is_literal
    key = api_key if api_key is not None else (None if own else provider.key())
    return Plan(
        action=LlmAction(provider=provider.name, model=None, origin=origin, own_base_url=own, costs=False),
        provider=provider,
        prefix=prefix,
        key=key,
        may_be_private=private,
        missing_key=key is None and not own and provider.key_env is not None,
    )
