"""orcs.llm and orcs.llm_ping: from a script's options to a request, from a server's events to a result.

Two steps, and the gate between them. plan() says what would be done (which server, which model, whose key) and
touches nothing; complete() does it, and takes the Permit that only the gate makes. A turn reaches its session
whole, or the session stays as it was. A script's key goes where the grant lists it; the host's key goes to its
provider's own origin and nowhere else.
"""

from __future__ import annotations

import math
import re
from contextlib import aclosing
from typing import Any

import msgspec
import trio

from luahost.errors import ConfigError, WorldError
from luahost.gate.hosts import parse_base_url
from luahost.gate.permits import LlmAction, Permit
from luahost.ops import results
from luahost.ops.providers import Provider
from luahost.ops.results import Result
from luahost.ops.sessions import Session, mended
from luahost.ops.world import Emit, Share
from luahost.values import nearest
from luahost.wire import openai
from luahost.wire.events import End, Event, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Block,
    Conversation,
    Message,
    Options,
    TextBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
)

DEFAULT_TIMEOUT_S, DEFAULT_CONNECT_S, DEFAULT_PING_S = 120.0, 10.0, 5.0
MAX_TIMEOUT_S = 86_400.0
RESERVE_TOKENS = 4096
"""What a call under a token budget may answer when the script names no max_tokens."""
AFTER_ANSWER_S = 2.0
"""How long to wait for usage once the finish reason came; some servers never end their stream."""

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_SESSION = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
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
    timeout: float = DEFAULT_TIMEOUT_S
    connect_timeout: float = DEFAULT_CONNECT_S
    overall_timeout: float | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    tool_results: list[ToolResult] | None = None


class LlmArgs(msgspec.Struct, frozen=True):
    opts: LlmOptions
    prompt: str | None = None
    streamed: bool = False  # the script has an on_delta


class PingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.llm_ping."""

    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    timeout: float = DEFAULT_PING_S


class PingArgs(msgspec.Struct, frozen=True):
    opts: PingOptions


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would do. `key` is None when none is sent."""

    action: LlmAction
    provider: Provider
    prefix: str
    key: str | None
    missing_key: bool
    max_tokens: int | None = None  # what is asked of the server


# ── plan ────────────────────────────────────────────────────────────────────────────────────────────────


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
    if opts.session_id is not None and not _SESSION.fullmatch(opts.session_id):
        return results.invalid("session_id", "at most 200 characters without control characters expected")
    problem = _out_of_range(opts)
    if problem is not None:
        return problem
    asked, answer = _estimate(share, args)
    action = msgspec.structs.replace(target.action, model=model, tokens=asked + (answer or 1), costs=True)
    return msgspec.structs.replace(target, action=action, max_tokens=answer)


def _estimate(share: Share, args: LlmArgs) -> tuple[int, int | None]:
    """Tokens of what is sent, a quarter of its bytes; and of the answer, where a limit is named.

    A call under a token budget that names no max_tokens is given one, so that the budget can hold.
    """
    session = share.sessions.get(args.opts.session_id)
    size = len(args.prompt or "") + len(args.opts.system_prompt or session.system or "")
    asked = (size + sum(len(text_of(message)) for message in session.messages)) // 4
    if args.opts.max_tokens is not None or "llm" not in share.grants:
        return asked, args.opts.max_tokens
    left = [grant.ledger.tokens_left() for grant in share.grants["llm"].chain()]
    capped = [tokens for tokens in left if tokens is not None]
    return asked, max(1, min(RESERVE_TOKENS, *(tokens - asked for tokens in capped))) if capped else None


def plan_ping(share: Share, args: PingArgs) -> Plan | Result:
    opts = args.opts
    if not 0 < opts.timeout <= MAX_TIMEOUT_S:
        return results.invalid("timeout", f"seconds above 0, at most {MAX_TIMEOUT_S:g} expected")
    return _target(share, opts.provider, opts.base_url, opts.api_key)


def _target(share: Share, name: str | None, base_url: str | None, api_key: str | None) -> Plan | Result:
    providers = share.world.providers
    wanted = (name or share.world.default_provider).lower()
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
        prefix = prefix.removesuffix("/v1")
    if api_key is not None and not _KEY.fullmatch(api_key):
        return results.invalid("api_key", "printable characters without spaces expected")
    own = origin != provider.origin
    key = api_key if api_key is not None else (None if own else provider.key())
    return Plan(
        action=LlmAction(
            provider=provider.name, model=None, origin=origin, own_base_url=own, tokens=0, costs=False
        ),
        provider=provider,
        prefix=prefix,
        key=key,
        missing_key=key is None and not own and provider.key_env is not None,
    )


def _out_of_range(opts: LlmOptions) -> Result | None:
    ranges: tuple[tuple[str, float, float], ...] = (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("max_tokens", 1, 1 << 31),
        ("timeout", 0.001, MAX_TIMEOUT_S),
        ("connect_timeout", 0.001, MAX_TIMEOUT_S),
        ("overall_timeout", 0.001, MAX_TIMEOUT_S),
    )
    for name, low, high in ranges:
        value = getattr(opts, name)
        if value is not None and not low <= value <= high:
            return results.invalid(name, f"from {low:g} to {high:g} expected, got {value:g}")
    names = [tool.name for tool in opts.tools or ()]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            return results.invalid("tools", f"a name of letters, digits, _ and - expected, got {name[:80]!r}")
    if len(set(names)) != len(names):
        return results.invalid("tools", "each name once expected")
    return None


# ── complete ────────────────────────────────────────────────────────────────────────────────────────────


class _Heard:
    """What a server's events add up to."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None
        self.model: str | None = None
        self.end: End | None = None
        self.first_s: float | None = None
        self.stopped = False  # by the script

    def take(self, event: Event, now_s: float) -> str | None:
        """Adds the event; its text, if it is one."""
        if isinstance(event, Text):
            self.first_s = self.first_s or now_s
            self.text.append(event.text)
            return event.text
        if isinstance(event, Thinking):
            self.first_s = self.first_s or now_s
            self.thinking.append(event.text)
        elif isinstance(event, ToolCall):
            self.first_s = self.first_s or now_s
            self.calls.append(event)
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Start):
            self.model = event.model or None
        else:
            self.end = event
        return None


async def complete(permit: Permit, planned: Plan, args: LlmArgs, share: Share, emit: Emit | None) -> Result:
    """One turn. Settles the permit's reservation; the result is a value whatever happens."""
    reservation = permit.reservation
    assert reservation is not None, "the gate reserves for every completion"
    if planned.missing_key:
        reservation.release()
        env = planned.provider.key_env
        return results.error(
            "missing_api_key",
            f"no key for {planned.provider.name}: set {env} in the environment of the host",
            provider=planned.provider.name,
        )
    session = share.sessions.get(args.opts.session_id)
    turn = _user_turn(session, args)
    problem = None if isinstance(turn, Message) else turn
    if session.busy:
        problem = results.error(
            "session_busy", f"session {session.id!r} has a turn under way; wait for it or use another", retryable=True
        )
    elif share.sessions.full(session):
        problem = results.error("too_large", "this VM's store of sessions is full")
    if problem is not None or not isinstance(turn, Message):
        reservation.release()
        return {**(problem or {}), "session_id": session.id}
    if args.opts.session_id:
        share.sessions.keep(session)  # so that a second turn meanwhile finds it busy
    fresh = not session.messages and session.system is None
    session.busy = True
    committed = False
    try:
        result, committed = await _turn(permit, planned, args, share, emit, session, turn)
        return result
    finally:
        session.busy = False
        if fresh and not committed:
            share.sessions.forget(session)


async def _turn(
    permit: Permit,
    planned: Plan,
    args: LlmArgs,
    share: Share,
    emit: Emit | None,
    session: Session,
    turn: Message,
) -> tuple[Result, bool]:
    world, opts, reservation = share.world, args.opts, permit.reservation
    assert reservation is not None and permit.action.model is not None
    system = opts.system_prompt if opts.system_prompt is not None else session.system
    history = mended([*session.messages, turn])
    request = openai.encode(
        Conversation(history, system, opts.tools or []),
        Options(
            model=permit.action.model,
            stream=opts.stream if opts.stream is not None else args.streamed,
            temperature=opts.temperature,
            top_p=opts.top_p,
            max_tokens=planned.max_tokens,
            seed=opts.seed,
            stop=opts.stop,
            tool_choice=opts.tool_choice,
        ),
        dialect=openai.OPENAI if planned.provider.name == "openai" else openai.COMPATIBLE,
    )
    headers = dict(request.headers)
    if planned.key is not None:
        headers |= openai.auth_headers(planned.key)
    began = world.monotonic_s()
    heard = _Heard()
    answered: dict[str, Any] = {"provider": planned.provider.name, "session_id": session.id, "attempts": 1}
    sent = True
    failure: Result | None = None
    try:
        with trio.move_on_after(opts.overall_timeout if opts.overall_timeout is not None else math.inf) as overall:
            async with world.client().open(
                request.method,
                permit.action.origin,
                planned.prefix + request.path,
                headers,
                request.body,
                connect_timeout_s=opts.connect_timeout,
                timeout_s=opts.timeout,
            ) as answer:
                answered["request_id"] = _request_id(answer.headers)
                decoder = openai.Decoder(
                    status=answer.status,
                    content_type=answer.headers.get("content-type", ""),
                    headers=answer.headers,
                    model=permit.action.model,
                    now_s=world.now_s(),
                )
                try:
                    await _listen(answer.pieces(), decoder, heard, world.monotonic_s, emit)
                except WorldError as error:
                    if error.kind == "too_large":
                        raise
                    for event in decoder.close(dropped=True):
                        heard.take(event, world.monotonic_s())
                    if heard.end is None or not decoder.started_content:
                        raise
        if overall.cancelled_caught:
            failure = results.error(
                "timeout",
                f"the answer took longer than overall_timeout = {opts.overall_timeout:g} s",
                retryable=True,
                phase="overall",
            )
    except WorldError as error:
        failure = results.from_world(error)
        sent = error.phase != "connect"
    finally:
        if sent:
            reservation.settle(_tokens_used(heard, args))
        else:
            reservation.release()
    answered["latency_ms"] = round((world.monotonic_s() - began) * 1000, 3)
    if heard.first_s is not None:
        answered["ttft_ms"] = round((heard.first_s - began) * 1000, 3)
    if heard.usage is not None:
        answered["usage"] = msgspec.to_builtins(heard.usage)
    if failure is None and not heard.stopped and heard.end is not None and heard.end.failure is not None:
        failure = results.from_failure(heard.end.failure)
        answered["stop_reason"] = heard.end.stop_reason
    answered = {name: value for name, value in answered.items() if value is not None}
    text = "".join(heard.text)
    if failure is not None:
        if text:
            failure["detail"]["partial"] = text
        failure["detail"] |= {"provider": planned.provider.name, "model": permit.action.model}
        return {**answered, **failure}, False
    return _success(permit, heard, session, system, turn, text, answered, share), True


def _success(
    permit: Permit,
    heard: _Heard,
    session: Session,
    system: str | None,
    turn: Message,
    text: str,
    answered: dict[str, Any],
    share: Share,
) -> Result:
    whole = [] if heard.stopped else [call for call in heard.calls if call.arguments is not None]
    blocks: list[Block] = [TextBlock(text)] if text else []
    blocks += [ToolUseBlock(call.id, call.name, call.arguments or {}) for call in whole]
    session.commit(system, [turn, Message("assistant", blocks if whole else text)])
    share.sessions.keep(session)
    end = heard.end
    result: Result = {
        "ok": True,
        "content": text,
        "model": heard.model or permit.action.model,
        "stop_reason": "cancelled" if heard.stopped else end.stop_reason if end else "end_turn",
        **answered,
    }
    if end is not None and end.raw_reason is not None:
        result["raw_finish_reason"] = end.raw_reason
    if whole:
        result["intents"] = [{"id": call.id, "name": call.name, "params": call.arguments} for call in whole]
    if heard.thinking:
        result["thinking"] = "".join(heard.thinking)
    return result


async def _listen(pieces: Any, decoder: openai.Decoder, heard: _Heard, clock: Any, emit: Emit | None) -> None:
    """Bytes to events until the answer has ended, the server has, or the script wants no more."""
    async with aclosing(pieces):
        iterator = aiter(pieces)
        while not decoder.ended:
            piece: bytes | None = None
            with trio.move_on_after(AFTER_ANSWER_S if decoder.answered else math.inf):
                piece = await anext(iterator, None)
            events = decoder.close() if piece is None else decoder.feed(piece)
            for event in events:
                text = heard.take(event, clock())
                if text is not None and emit is not None and not await emit(text):
                    heard.stopped = True
                    return


def _user_turn(session: Session, args: LlmArgs) -> Message | Result:
    """The turn a call adds: tool results first, then the prompt."""
    given = args.opts.tool_results
    if not given:
        if args.prompt is None:
            return results.invalid("tool_results", "results expected when there is no prompt")
        return Message("user", args.prompt)
    asked = {use.id for use in session.unanswered()}
    unknown = [each.id for each in given if each.id not in asked]
    if unknown:
        return results.invalid("tool_results", f"no call {unknown[0][:80]!r} is waiting in session {session.id!r}")
    blocks: list[Block] = [ToolResultBlock(each.id, each.content, each.is_error) for each in given]
    if args.prompt:
        blocks.append(TextBlock(args.prompt))
    return Message("user", blocks)


def _tokens_used(heard: _Heard, args: LlmArgs) -> int:
    """As the server counted; a quarter of the bytes where it did not say."""
    usage = heard.usage
    if usage is not None and usage.total is not None:
        return usage.total
    if usage is not None and (usage.input is not None or usage.output is not None):
        return (usage.input or 0) + (usage.output or 0)
    if heard.end is None and not heard.text:
        return 0
    if heard.end is not None and heard.end.failure is not None and not heard.text:
        return 0
    return (len(args.prompt or "") + sum(map(len, heard.text))) // 4


def _request_id(headers: dict[str, str]) -> str | None:
    for name in ("x-request-id", "request-id", "x-generation-id"):
        if name in headers:
            return headers[name][:200]
    return None


# ── ping ────────────────────────────────────────────────────────────────────────────────────────────────


async def ping(permit: Permit, planned: Plan, args: PingArgs, share: Share, emit: Emit | None) -> Result:
    """Is the server there, and does it take the key? No tokens, no session."""
    world = share.world
    began = world.monotonic_s()
    about = {"provider": planned.provider.name, "base_url": str(permit.action.origin)}
    headers = openai.auth_headers(planned.key) if planned.key is not None else {}
    try:
        with trio.fail_after(args.opts.timeout):
            async with world.client().open(
                "GET",
                permit.action.origin,
                planned.prefix + planned.provider.health_path,
                headers,
                None,
                connect_timeout_s=args.opts.timeout,
                timeout_s=args.opts.timeout,
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

