"""orcs.llm: one turn of a conversation, from the plan that the gate allowed to a result.

Takes the Permit that only the gate makes, and settles its reservation. A turn reaches its session whole, or the
session stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from luahost.errors import Exhausted
from luahost.gate.permits import LlmAction, Permit
from luahost.ops import results
from luahost.ops.llm_plan import LlmArgs, Plan
from luahost.ops.results import Result
from luahost.ops.session import Session
from luahost.ops.turns import mended
from luahost.ops.world import Emit, Share
from luahost.wire.events import End, Event, Failure, Image, Keep, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Block,
    Conversation,
    Message,
    Options,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from luahost.wire.wires import Decoder, wire

if TYPE_CHECKING:  # the transport, and httpx with it, is imported when the first call is made
    from luahost.transport.attempts import Attempts
    from luahost.transport.client import Answer


class _Heard:
    """What a server's events add up to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.calls: list[ToolCall] = []
        self.parts: list[Text | Image | ToolCall | Keep] = []  # what the history stores, in the order it came
        self.usage: Usage | None = None
        self.model: str | None = None
        self.end: End | None = None
        self.first_s: float | None = None  # when the first content came
        self.stopped = False  # by the script

    def take(self, event: Event) -> str | None:
        """Adds the event; its text, if it is one."""
        if self.first_s is None and isinstance(event, Text | Thinking | Image | ToolCall):
            self.first_s = self._clock()
        if isinstance(event, Text | Image | ToolCall | Keep):
            self.parts.append(event)
        if isinstance(event, Text):
            self.text.append(event.text)
            return event.text
        if isinstance(event, Thinking):
            self.thinking.append(event.text)
        elif isinstance(event, ToolCall):
            self.calls.append(event)
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Start):
            self.model = event.model or None
        elif isinstance(event, End):
            self.end = event
        return None

    def turn(self) -> Message:
        """The assistant's turn as it is stored. A call cut off by the length limit is not, nor one that the
        script did not wait for."""
        blocks: list[Block] = []
        text: list[str] = []

        def flush() -> None:
            if text:
                blocks.append(TextBlock("".join(text)))
                text.clear()

        for part in self.parts:
            if isinstance(part, Text):
                text.append(part.text)
            elif isinstance(part, Keep | Image):
                if isinstance(part.block, TextBlock):  # it stands for the text just given out: not twice
                    said = "".join(text).removesuffix(part.block.text)
                    text[:] = [said] if said else []
                flush()
                blocks.append(part.block)
            elif part.arguments is not None and not self.stopped:
                flush()
                blocks.append(ToolUseBlock(part.id, part.name, part.arguments, part.state))
        flush()
        if all(isinstance(block, TextBlock) and block.state is None for block in blocks):
            return Message("assistant", "".join(self.text))
        return Message("assistant", blocks)

    def tokens(self, prompt: str) -> int:
        """As the server counted; a quarter of the bytes where it did not say and answered."""
        usage = self.usage
        if usage is not None and usage.total is not None:
            return usage.total
        if usage is not None and (usage.input is not None or usage.output is not None):
            return (usage.input or 0) + (usage.output or 0)
        if not self.text and (self.end is None or self.end.failure is not None):
            return 0
        return (len(prompt) + sum(map(len, self.text))) // 4


async def complete(
    permit: Permit[LlmAction], planned: Plan, args: LlmArgs, share: Share, emit: Emit | None
) -> Result:
    """One turn. The result is a value whatever happens."""
    assert permit.reservation is not None, "the gate reserves for every completion"
    session = share.sessions.get(args.opts.session_id)
    turn = _user_turn(session, args)
    problem = _problem(planned, share, session, turn) or (turn if isinstance(turn, dict) else None)
    if problem is not None or isinstance(turn, dict):
        permit.reservation.release()
        return {**(problem or {}), "session_id": session.id}
    with share.sessions.turn_of(session, keep=not args.throwaway):
        return await _Turn(permit, planned, args, share, emit, session, turn).run()


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
    ) -> None:
        self._permit, self._planned, self._args, self._share = permit, planned, args, share
        self._emit, self._session, self._user = emit, session, user
        self._system = args.opts.system_prompt if args.opts.system_prompt is not None else session.system
        self._heard = _Heard(share.world.monotonic_s)
        self._warnings: list[str] = []
        self._about: dict[str, Any] = {"provider": planned.provider.name, "session_id": session.id}

    async def run(self) -> Result:
        world, heard, reservation = self._share.world, self._heard, self._permit.reservation
        assert reservation is not None
        began = world.monotonic_s()
        attempts = await self._attempts()
        try:
            await attempts.run(self._take)
        finally:
            if attempts.report.reached:
                reservation.settle(tokens=heard.tokens(self._args.prompt or ""))
            else:
                reservation.release()
        self._about["attempts"] = attempts.report.attempts
        self._about["latency_ms"] = round((world.monotonic_s() - began) * 1000, 3)
        if attempts.report.queue_s >= 0.001:
            self._about["queue_ms"] = round(attempts.report.queue_s * 1000, 3)
        if attempts.report.request_id is not None:
            self._about["request_id"] = attempts.report.request_id
        if heard.first_s is not None:
            self._about["ttft_ms"] = round((heard.first_s - began) * 1000, 3)
        if heard.usage is not None:
            self._about["usage"] = msgspec.to_builtins(heard.usage)
        end = heard.end
        if not heard.stopped and end is not None and end.failure is not None:
            return self._failed(end.failure, end.stop_reason)
        return self._succeeded()

    async def _take(self, event: Event) -> bool:
        text = self._heard.take(event)
        if text is None or self._emit is None or await self._emit(text):
            return True
        self._heard.stopped = True
        return False

    async def _attempts(self) -> Attempts:
        client = await self._share.world.client()
        from luahost.transport.attempts import Attempts, Target

        opts, planned, world = self._args.opts, self._planned, self._share.world
        action = self._permit.action
        model = action.model
        assert model is not None
        spoken = wire(planned.provider.wire, planned.provider.name)
        options = Options(
            model=model,
            stream=opts.stream if opts.stream is not None else self._args.streamed,
            temperature=opts.temperature,
            top_p=opts.top_p,
            max_tokens=planned.max_tokens,
            seed=opts.seed,
            stop=opts.stop,
            tool_choice=opts.tool_choice,
            parallel_tool_calls=opts.parallel_tool_calls,
            thinking=opts.thinking,
            cache=opts.cache,
            num_ctx=opts.num_ctx,
            keep_alive=opts.keep_alive,
        )
        history = mended([*self._session.messages, self._user])
        exchange = spoken.exchange(Conversation(history, self._system, opts.tools or []), options)
        self._warnings = [str(dropped) for dropped in exchange.request.dropped]

        def decoder(answer: Answer) -> Decoder:
            return exchange.decoder(status=answer.status, headers=answer.headers, now_s=world.now_s())

        target = Target(
            origin=action.origin,
            prefix=planned.prefix,
            headers=spoken.auth_headers(planned.key),
            may_be_private=planned.may_be_private,
            owner=self._share.owner,
        )
        return Attempts(client, exchange.request, target, decoder, planned.deadlines, planned.policy, world.rng)

    def _failed(self, failure: Failure, stop_reason: str) -> Result:
        result = results.from_failure(failure)
        text = "".join(self._heard.text)
        if text:
            result["detail"]["partial"] = text
        result["detail"] |= {"provider": self._planned.provider.name, "model": self._permit.action.model}
        return {**self._about, "stop_reason": stop_reason, **result}

    def _succeeded(self) -> Result:
        heard, end = self._heard, self._heard.end
        text = "".join(heard.text)
        whole = [] if heard.stopped else [call for call in heard.calls if call.arguments is not None]
        try:
            self._share.sessions.commit(self._session, self._system, [self._user, heard.turn()], heard.usage)
        except Exhausted as full:
            return {**self._about, **results.error(full.kind, full.message, partial=text or None)}
        result: Result = {
            "ok": True,
            "content": text,
            "model": heard.model or self._permit.action.model,
            "stop_reason": "cancelled" if heard.stopped or end is None else end.stop_reason,
            **self._about,
        }
        if end is not None and end.raw_reason is not None:
            result["raw_finish_reason"] = end.raw_reason
        if whole:
            result["intents"] = [{"id": call.id, "name": call.name, "params": call.arguments} for call in whole]
        if self._warnings:
            result["warnings"] = self._warnings
        if heard.thinking:
            result["thinking"] = "".join(heard.thinking)
        return result
