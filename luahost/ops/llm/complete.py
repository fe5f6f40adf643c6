"""orcs.llm: one turn of a conversation, from the plan that the gate allowed to a result.

Takes the Permit that only the gate makes, and settles its reservation. A turn reaches its session whole, or the
session stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from luahost.errors import Exhausted, WorldError
from luahost.gate.ledger import Shortage
from luahost.gate.permits import LlmAction, Permit
from luahost.ops import results
from luahost.ops.llm import options as llm_options
from luahost.ops.llm import pictures, secrets
from luahost.ops.llm.budget import Meter
from luahost.ops.llm.heard import Heard, picture, told
from luahost.ops.llm.options import LlmArgs
from luahost.ops.llm.plan import Plan
from luahost.ops.results import Result
from luahost.ops.sessions.session import Session
from luahost.ops.sessions.turns import mended
from luahost.ops.world import Emit, Piece, Share
from luahost.room import Part
from luahost.wire.decoder import Around
from luahost.wire.events import End, Event, Failure, Retry, Start, Text, Usage
from luahost.wire.messages import (
    Block,
    Conversation,
    ImageBlock,
    Message,
    Options,
    TextBlock,
    Tool,
)
from luahost.wire.wires import Decoder, Exchange

if TYPE_CHECKING:  # the transport, and httpx with it, is imported when the first call is made
    from luahost.transport.attempts import Attempts
    from luahost.transport.client import Answer


LARGE_TOKENS = 50_000
"""Of a call that takes longer to be written as a request than the event loop may wait."""

LEAVING_TICKS = 20
"""Turns of the event loop that a call which has just been cancelled may need to be out of its session."""


async def complete(
    permit: Permit[LlmAction], planned: Plan, args: LlmArgs, share: Share, emit: Emit | None
) -> Result:
    """One turn. The result is a value whatever happens."""
    with share.room.part() as part:
        return await _complete(permit, planned, args, share, emit, part)


async def _complete(  # noqa: PLR0917 - an act, and what it may hold
    permit: Permit[LlmAction], planned: Plan, args: LlmArgs, share: Share, emit: Emit | None, part: Part
) -> Result:
    images = await pictures.blocks(args.opts.images or (), permit.also, share, part)
    if not planned.missing_key:
        # The first takes long and cannot be cut short: no session is busy meanwhile.
        await share.world.client(planned.provider)
    await share.turn()
    session = share.sessions.get(args.opts.session_id)
    for _ in range(LEAVING_TICKS):
        if not session.busy:
            break
        await trio.lowlevel.checkpoint()
    turn = images if isinstance(images, dict) else _user_turn(session, args, images)
    problem = _problem(planned, share, session, turn) or (turn if isinstance(turn, dict) else None)
    if problem is not None or isinstance(turn, dict):
        permit.release()
        return {**(problem or {}), "session_id": session.id}
    with share.sessions.turn_of(session, keep=not args.throwaway):
        return await _Turn(permit, planned, args, share, emit, session, turn, part).run()


def _problem(planned: Plan, share: Share, session: Session, turn: Message | Result) -> Result | None:
    if planned.missing_key:
        return results.error(
            "missing_api_key",
            f"no key for {planned.provider.name}: set {planned.provider.key_env} in the environment of the host",
            provider=planned.provider.name,
        )
    if session.busy:
        return results.error(
            "session_busy",
            f"session {session.id!r} has a turn under way; wait for it, or use another",
            retryable=True,
        )
    lack = share.sessions.lack(session, [turn]) if isinstance(turn, Message) else None
    return None if lack is None else results.error("too_large", lack)


def _user_turn(session: Session, args: LlmArgs, images: list[ImageBlock]) -> Message | Result:
    """The turn a call adds: tool results first, then images, then the prompt."""
    blocks: list[Block] = []
    given = args.opts.tool_results or []
    if not given and args.prompt is None:
        return results.invalid("tool_results", "results expected when there is no prompt")
    asked = {use.id for use in session.unanswered()} if given else set()
    unknown = [each.id for each in given if each.id not in asked]
    if unknown:
        return results.invalid("tool_results", f"no call {unknown[0][:80]!r} is waiting in session {session.id!r}")
    blocks += [each.block() for each in given]
    blocks += images
    if not blocks:
        return Message("user", args.prompt or "")
    if args.prompt:
        blocks.append(TextBlock(args.prompt))
    return Message("user", blocks)


class _Turn:
    """One exchange with a model, under way."""

    def __init__(  # noqa: PLR0917 - what an act is given, and nothing else
        self,
        permit: Permit[LlmAction],
        planned: Plan,
        args: LlmArgs,
        share: Share,
        emit: Emit | None,
        session: Session,
        user: Message,
        part: Part,
    ) -> None:
        assert permit.action.model is not None, "completions have one"
        self._permit, self._planned, self._args, self._share = permit, planned, args, share
        self._emit, self._session, self._user, self._part = emit, session, user, part
        self._model: str = permit.action.model
        self._secret = planned.key if args.opts.api_key is None else None
        self._system = args.opts.system_prompt if args.opts.system_prompt is not None else session.system
        self._heard = Heard(share.world.monotonic_s)
        self._meter = Meter(permit.reservation, planned.provider, self._model, permit.action.input_tokens)
        self._over: Shortage | None = None
        self._about: dict[str, Any] = {"provider": planned.provider.name, "session_id": session.id}

    async def run(self) -> Result:
        world, heard, opts = self._share.world, self._heard, self._args.opts
        await self._share.turn()
        if self._permit.action.input_tokens > LARGE_TOKENS:  # in a thread, Python gives way every few ms
            exchange = await world.pace.aside(self._exchange)
        else:
            exchange = self._exchange()
        await self._share.turn()
        dropped = exchange.request.dropped
        if dropped and opts.strict:
            self._permit.release()
            text = f"{dropped[0]} (strict is set, so nothing was sent)"
            return {**results.error("invalid_options", text, field=dropped[0].option), **self._about}
        if dropped:
            self._about["warnings"] = [str(each) for each in dropped]
        began = world.monotonic_s()
        attempts = await self._attempts(exchange)
        usage: dict[str, Any] | None = None
        try:
            await attempts.run(self._take, in_pieces=self._emit is not None)
        finally:
            if attempts.report.reached:
                usage = self._meter.settle(heard.usage, answered=heard.answered)
            else:
                self._permit.release()
        report, about = attempts.report, self._about
        about["attempts"] = report.attempts
        about["latency_ms"] = round((world.monotonic_s() - began) * 1000, 3)
        if report.queue_s >= 0.001:
            about["queue_ms"] = round(report.queue_s * 1000, 3)
        if report.request_id is not None:
            about["request_id"] = secrets.without(report.request_id, self._secret)
        if heard.first_s is not None:
            about["ttft_ms"] = round((heard.first_s - began) * 1000, 3)
        if usage is not None:
            about["usage"] = usage
        if self._over is not None:
            return self._cut(self._over)
        end = heard.end
        answerable = self._args.resolving and heard.unreadable
        if not heard.stopped and end is not None and end.failure is not None and not answerable:
            billed = _billed(attempts.report.reached, usage is not None, end.failure)
            return self._failed(results.from_failure(end.failure), end.stop_reason, billed)
        await self._share.turn()
        return self._succeeded()

    # ── while it runs ───────────────────────────────────────────────────────────────────────────────────

    async def _take(self, event: Event) -> bool:
        heard = self._heard
        unheard = heard.first_s is None
        size = heard.take(event)
        if self._permit.action.streams:  # a whole answer is paid for when it comes: nothing is saved by a cut
            if not self._part.take(size):
                raise WorldError(self._part.refusal, kind="too_large")
            if size:
                self._over = self._meter.add(size)
            elif unheard and isinstance(event, Usage):
                self._over = self._meter.said(event)
            if self._over is not None:
                return False
        elif size:
            self._meter.add(size)
        if self._emit is None:
            return True
        piece = self._piece(event)
        if piece is None or await self._emit(piece) or isinstance(event, End):
            return True
        heard.stopped = True
        return False

    def _piece(self, event: Event) -> Piece | None:
        if self._args.events == "text":
            return event.text if isinstance(event, Text) else None
        piece = told(event)
        return secrets.without(piece, self._secret) if isinstance(event, Start | Retry | End) else piece

    def _exchange(self) -> Exchange:
        opts, planned = self._args.opts, self._planned
        options = Options(
            model=self._model,
            stream=self._permit.action.streams,
            temperature=opts.temperature,
            top_p=opts.top_p,
            max_tokens=planned.max_tokens,
            seed=opts.seed,
            stop=opts.stop,
            tool_choice=opts.tool_choice,
            parallel_tool_calls=opts.parallel_tool_calls,
            thinking=opts.thinking,
            effort=opts.effort,
            response_schema=llm_options.plain(opts.response_schema),
            cache=opts.cache,
            num_ctx=opts.num_ctx,
            keep_alive=llm_options.duration(opts.keep_alive),
            provider_order=opts.provider_order,
            extra_body=llm_options.plain(opts.extra_body),
            extra_headers=opts.extra_headers,
        )
        tools = [Tool(tool.name, tool.description, llm_options.plain(tool.parameters)) for tool in opts.tools or ()]
        history = mended([*self._session.messages, self._user])
        spoken = planned.provider.spoken
        return spoken.exchange(Conversation(history, self._system, tools), options)

    async def _attempts(self, exchange: Exchange) -> Attempts:
        world, planned = self._share.world, self._planned
        client = await world.client()
        from luahost.transport.attempts import Attempts, Target

        def decoder(answer: Answer) -> Decoder:
            made = exchange.decoder(status=answer.status, headers=answer.headers, now_s=world.now_s())
            return made if self._permit.action.streams else _Kept(made, self._part)

        target = Target(
            origin=self._permit.action.origin,
            prefix=planned.prefix,
            headers=planned.provider.spoken.auth_headers(planned.key),
            may_be_private=planned.may_be_private,
            owner=self._share.owner,
        )
        return Attempts(client, exchange.request, target, decoder, planned.deadlines, planned.policy, world.rng)

    # ── what came of it ─────────────────────────────────────────────────────────────────────────────────

    def _failed(self, result: Result, stop_reason: str, billed: str) -> Result:
        detail, about = result["detail"], self._about
        text = "".join(self._heard.text)
        if text:
            detail["partial"] = text
        if self._heard.refusal:
            about["refusal"] = "".join(self._heard.refusal)
        detail |= {"provider": self._planned.provider.name, "model": self._model, "billed": billed}
        detail |= {name: about[name] for name in ("attempts", "request_id") if name in about}
        failed: Result = secrets.without({**about, "stop_reason": stop_reason, **result}, self._secret)
        return failed

    def _cut(self, over: Shortage) -> Result:
        """The answer ran over what its grant allows: it was paid for, and is not in the session."""
        text = f"llm: the answer ran over {over.limit} = {over.allowed:.12g} and was cut off"
        result = results.error(
            "budget_exceeded", text, capability="llm", rule=over.limit, limit=over.allowed, used=over.used
        )
        return self._failed(result, "error", "yes")

    def _succeeded(self) -> Result:
        heard, end = self._heard, self._heard.end
        text = "".join(heard.text)
        calls = [] if heard.stopped else [c for c in heard.calls if c.arguments is not None or heard.unreadable]
        if heard.parts or not heard.stopped:
            turn = [self._user, heard.turn()]
            try:
                self._share.sessions.commit(self._session, self._system, turn, heard.usage)
            except Exhausted as full:
                return self._failed(results.error(full.kind, full.message), "error", "yes")
        stop_reason = "cancelled" if heard.stopped or end is None else end.stop_reason
        if heard.unreadable:
            stop_reason = "tool_use"
        result: Result = {
            "ok": True,
            "content": text,
            "model": heard.model or self._model,
            "stop_reason": stop_reason,
            "truncated": stop_reason == "max_tokens",
            **self._about,
        }
        if self._args.opts.compact_at is not None:
            result["should_compact"] = self._session.should_compact(self._args.opts.compact_at)
        if end is not None and end.raw_reason is not None:
            result["raw_finish_reason"] = end.raw_reason
        if calls:
            result["intents"] = [
                {"id": call.id, "name": call.name}
                | ({"malformed": call.raw[:200]} if call.arguments is None else {"params": call.arguments})
                for call in calls
            ]
        if heard.thinking:
            result["thinking"] = "".join(heard.thinking)
        if heard.refusal:
            result["refusal"] = "".join(heard.refusal)
        if heard.images:
            result["images"] = [picture(block) for block in heard.images]
        return result


class _Kept(Around):
    """The decoder of an answer that is kept until it is whole; it takes room. WorldError without any."""

    def __init__(self, decoder: Decoder, part: Part) -> None:
        super().__init__(decoder)
        self._part = part

    def feed(self, data: bytes) -> list[Event]:
        if not self._part.take(len(data)):
            raise WorldError(self._part.refusal, kind="too_large")
        return super().feed(data)


def _billed(reached: bool, used: bool, failure: Failure) -> str:
    """Whether the failed call costs: yes, no, or unknown where the server took it and did not say."""
    if used:
        return "yes"
    return "no" if not reached or (failure.status or 0) >= 300 else "unknown"
