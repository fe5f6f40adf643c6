"""What a script may say to orcs.llm and orcs.llm_ping, and the plan it makes: which server, model and key.

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
from luahost.ops.providers import ALIASES, Provider, without_version
from luahost.ops.results import Result
from luahost.ops.session_dump import valid_id
from luahost.ops.world import Planned, Share
from luahost.transport.settings import Deadlines
from luahost.values import nearest
from luahost.wire.messages import THINKING, Cache, Tool, text_of
from luahost.wire.retry import RetryPolicy

DEFAULT_PING_S = 5.0
MAX_TIMEOUT_S = 86_400.0
RESERVE_TOKENS = 4096
"""What a call under a token budget may answer when the script names no max_tokens."""

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_KEY = re.compile(r"[!-~]{1,1000}")


class ToolResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to an intent: {id, content, is_error}."""

    id: str
    content: str
    is_error: bool = False


class LlmOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.llm. Times are seconds."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    system_prompt: str | None = None
    session_id: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    timeout: float | None = None  # first_token_timeout and idle_timeout, where those are not given
    connect_timeout: float | None = None
    first_token_timeout: float | None = None
    idle_timeout: float | None = None
    overall_timeout: float | None = None
    max_retries: int | None = None
    stream: bool | None = None
    thinking: str | int | None = None
    cache: Cache | None = None
    num_ctx: int | None = None
    keep_alive: str | None = None
    parallel_tool_calls: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    tool_results: list[ToolResult] | None = None


class LlmArgs(msgspec.Struct, frozen=True):
    opts: LlmOptions
    prompt: str | None = None
    streamed: bool = False  # the script has an on_delta
    throwaway: bool = False  # its session is not kept


class PingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.llm_ping."""

    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    timeout: float = DEFAULT_PING_S


class PingArgs(msgspec.Struct, frozen=True):
    opts: PingOptions


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
    if not _MODEL.fullmatch(model) or ".." in model or "//" in model:
        return results.invalid("model", f"a model name expected, got {model[:80]!r}")
    if opts.session_id and not valid_id(opts.session_id):
        return results.invalid("session_id", "at most 200 characters without control characters expected")
    problem = _out_of_range(opts)
    if problem is not None:
        return problem
    asked, answer = _estimate(share, args)
    action = msgspec.structs.replace(target.action, model=model, tokens=asked + (answer or 1), costs=True)
    return msgspec.structs.replace(
        target,
        action=action,
        max_tokens=answer,
        deadlines=_deadlines(opts, target.provider),
        policy=_policy(opts, target.provider),
    )


def _deadlines(opts: LlmOptions, provider: Provider) -> Deadlines:
    """The script's own limits, then the provider's."""
    default = provider.deadlines
    first = opts.first_token_timeout if opts.first_token_timeout is not None else opts.timeout
    idle = opts.idle_timeout if opts.idle_timeout is not None else opts.timeout
    return Deadlines(
        connect_s=opts.connect_timeout if opts.connect_timeout is not None else default.connect_s,
        first_token_s=first if first is not None else default.first_token_s,
        idle_s=idle if idle is not None else default.idle_s,
        overall_s=opts.overall_timeout if opts.overall_timeout is not None else default.overall_s,
    )


def _policy(opts: LlmOptions, provider: Provider) -> RetryPolicy:
    if opts.max_retries is None:
        return provider.retry
    return msgspec.structs.replace(provider.retry, max_retries=opts.max_retries)


def _estimate(share: Share, args: LlmArgs) -> tuple[int, int | None]:
    """Tokens of what is sent, a quarter of its bytes; and of the answer, where a limit is named.

    A call under a token budget that names no max_tokens is given one, so that the budget can hold.
    """
    session = share.sessions.get(args.opts.session_id)
    size = len(args.prompt or "") + len(args.opts.system_prompt or session.system or "")
    asked = (size + sum(len(text_of(message)) for message in session.messages)) // 4
    if args.opts.max_tokens is not None or "llm" not in share.grants:
        return asked, args.opts.max_tokens
    left = [grant.ledger.left("tokens") for grant in share.grants["llm"].chain()]
    capped = [tokens for tokens in left if tokens is not None]
    return asked, max(1, min(RESERVE_TOKENS, *(tokens - asked for tokens in capped))) if capped else None


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
    return msgspec.structs.replace(target.action, model=model, costs=True)


def _target(share: Share, name: str | None, base_url: str | None, api_key: str | None) -> Plan | Result:
    providers = share.world.providers
    wanted = (name or share.world.default_provider).lower()
    wanted = ALIASES.get(wanted, wanted)
    provider = providers.get(wanted)
    if provider is None:
        known = ", ".join(providers)
        return results.invalid(
            "provider", f"one of {known} expected, got {wanted[:80]!r}{nearest(wanted, providers)}"
        )
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
        action=LlmAction(
            provider=provider.name, model=None, origin=origin, own_base_url=own, tokens=0, costs=False
        ),
        provider=provider,
        prefix=prefix,
        key=key,
        may_be_private=private,
        missing_key=key is None and not own and provider.key_env is not None,
    )


def _out_of_range(opts: LlmOptions) -> Result | None:
    ranges: tuple[tuple[str, float, float], ...] = (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("max_tokens", 1, 1 << 31),
        ("timeout", 0.001, MAX_TIMEOUT_S),
        ("connect_timeout", 0.001, MAX_TIMEOUT_S),
        ("first_token_timeout", 0.001, MAX_TIMEOUT_S),
        ("idle_timeout", 0.001, MAX_TIMEOUT_S),
        ("overall_timeout", 0.001, MAX_TIMEOUT_S),
        ("max_retries", 0, 100),
        ("num_ctx", 1, 1 << 31),
        ("thinking", 0, 1 << 31),
    )
    for name, low, high in ranges:
        value = getattr(opts, name)
        if isinstance(value, int | float) and not low <= value <= high:
            return results.invalid(name, f"from {low:g} to {high:g} expected, got {value:g}")
    if isinstance(opts.thinking, str) and opts.thinking not in THINKING:
        return results.invalid(
            "thinking", f"one of {', '.join(THINKING)} or a number of tokens expected, got {opts.thinking[:40]!r}"
        )
    names = [tool.name for tool in opts.tools or ()]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            return results.invalid("tools", f"a name of letters, digits, _ and - expected, got {name[:80]!r}")
    if len(set(names)) != len(names):
        return results.invalid("tools", "each name once expected")
    return None
