"""orcs.llm: one turn of a conversation, from the plan that the gate allowed to a result.

Takes the Permit that only the gate makes, and settles its reservation. A turn reaches its session whole, or the
session stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import trio

from luahost.errors import WorldError
from luahost.gate.permits import Permit
from luahost.ops import results
from luahost.ops.llm_plan import LlmArgs, Plan
from luahost.ops.results import Result
from luahost.ops.sessions import Session, mended
from luahost.ops.world import Emit, Share
from luahost.wire import openai
from luahost.wire.events import End, Event, Start, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Block,
    Conversation,
    Message,
    Options,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)

AFTER_ANSWER_S = 2.0
"""How long to wait for usage once the finish reason came; some servers never end their stream."""


class _Heard:
    """What a server's events add up to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.calls: list[ToolCall] = []
        self.usage: Usage | None = None
        self.model: str | None = None
        self.end: End | None = None
        self.first_s: float | None = None  # when the first content came
        self.stopped = False  # by the script

    def take(self, event: Event) -> str | None:
        """Adds the event; its text, if it is one."""
        if self.first_s is None and isinstance(event, Text | Thinking | ToolCall):
            self.first_s = self._clock()
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
        else:
            self.end = event
        return None

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


async def complete(permit: Permit, planned: Plan, args: LlmArgs, share: Share, emit: Emit | None) -> Result:
    """One turn. The result is a value whatever happens."""
    assert permit.reservation is not None, "the gate reserves for every completion"
    session = share.sessions.get(args.opts.session_id)
    turn = _user_turn(session, args)
    problem = _problem(planned, share, session) or (turn if isinstance(turn, dict) else None)
    if problem is not None or isinstance(turn, dict):
        permit.reservation.release()
        return {**(problem or {}), "session_id": session.id}
    with share.sessions.turn_of(session):
        return await _Turn(permit, planned, args, share, emit, session, turn).run()


def _problem(planned: Plan, share: Share, session: Session) -> Result | None:
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
    if share.sessions.full(session):
        return results.error("too_large", "this VM's store of sessions is full")
    return None


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
        permit: Permit,
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
        self._about: dict[str, Any] = {
            "provider": planned.provider.name,
            "session_id": session.id,
            "attempts": 1,
        }

    async def run(self) -> Result:
        world, heard, reservation = self._share.world, self._heard, self._permit.reservation
        assert reservation is not None
        began = world.monotonic_s()
        failure: Result | None = None
        reached = True
        try:
            failure = await self._within_deadline()
        except WorldError as error:
            failure = results.from_world(error)
            reached = error.phase != "connect"
        finally:
            if reached:
                reservation.settle(heard.tokens(self._args.prompt or ""))
            else:
                reservation.release()
        self._about["latency_ms"] = round((world.monotonic_s() - began) * 1000, 3)
        if heard.first_s is not None:
            self._about["ttft_ms"] = round((heard.first_s - began) * 1000, 3)
        if heard.usage is not None:
            self._about["usage"] = msgspec.to_builtins(heard.usage)
        end = heard.end
        if failure is None and not heard.stopped and end is not None and end.failure is not None:
            failure = results.from_failure(end.failure)
            self._about["stop_reason"] = end.stop_reason
        return self._failed(failure) if failure is not None else self._succeeded()

    async def _within_deadline(self) -> Result | None:
        limit_s = self._args.opts.overall_timeout
        with trio.move_on_after(math.inf if limit_s is None else limit_s) as overall:
            await self._exchange()
        if not overall.cancelled_caught:
            return None
        return results.error(
            "timeout",
            f"the answer took longer than overall_timeout = {limit_s:g} s",
            retryable=True,
            phase="overall",
        )

    async def _exchange(self) -> None:
        opts, planned, world = self._args.opts, self._planned, self._share.world
        action = self._permit.action
        assert action.model is not None
        request = openai.encode(
            Conversation(mended([*self._session.messages, self._user]), self._system, opts.tools or []),
            Options(
                model=action.model,
                stream=opts.stream if opts.stream is not None else self._args.streamed,
                temperature=opts.temperature,
                top_p=opts.top_p,
                max_tokens=planned.max_tokens,
                seed=opts.seed,
                stop=opts.stop,
                tool_choice=opts.tool_choice,
            ),
            dialect=openai.OPENAI if planned.provider.name == "openai" else openai.COMPATIBLE,
        )
        headers = request.headers | (openai.auth_headers(planned.key) if planned.key is not None else {})
        client = await world.client()
        async with client.open(
            request.method,
            action.origin,
            planned.prefix + request.path,
            headers,
            request.body,
            connect_timeout_s=opts.connect_timeout,
            timeout_s=opts.timeout,
        ) as answer:
            request_id = _request_id(answer.headers)
            if request_id is not None:
                self._about["request_id"] = request_id
            decoder = openai.Decoder(
                status=answer.status,
                content_type=answer.headers.get("content-type", ""),
                headers=answer.headers,
                model=action.model,
                now_s=world.now_s(),
            )
            try:
                await self._listen(answer.pieces(), decoder)
            except WorldError as error:
                if error.kind == "too_large" or not decoder.started_content:
                    raise
                for event in decoder.close(dropped=True):
                    self._heard.take(event)

    async def _listen(self, pieces: Any, decoder: openai.Decoder) -> None:
        """Bytes to events until the answer has ended, the server has, or the script wants no more."""
        async with aclosing(pieces):
            iterator: AsyncIterator[bytes] = aiter(pieces)
            while not decoder.ended:
                piece: bytes | None = None
                with trio.move_on_after(AFTER_ANSWER_S if decoder.answered else math.inf):
                    piece = await anext(iterator, None)
                for event in decoder.close() if piece is None else decoder.feed(piece):
                    text = self._heard.take(event)
                    if text is not None and self._emit is not None and not await self._emit(text):
                        self._heard.stopped = True
                        return

    def _failed(self, failure: Result) -> Result:
        text = "".join(self._heard.text)
        if text:
            failure["detail"]["partial"] = text
        failure["detail"] |= {"provider": self._planned.provider.name, "model": self._permit.action.model}
        return {**self._about, **failure}

    def _succeeded(self) -> Result:
        heard, end = self._heard, self._heard.end
        text = "".join(heard.text)
        # What the script stopped is kept as the text it heard; a call cut off by the length limit is not.
        whole = [] if heard.stopped else [call for call in heard.calls if call.arguments is not None]
        blocks: list[Block] = [TextBlock(text)] if text else []
        blocks += [ToolUseBlock(call.id, call.name, call.arguments or {}) for call in whole]
        self._session.commit(self._system, [self._user, Message("assistant", blocks if whole else text)])
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
        if heard.thinking:
            result["thinking"] = "".join(heard.thinking)
        return result


def _request_id(headers: dict[str, str]) -> str | None:
    for name in ("x-request-id", "request-id", "x-generation-id"):
        if name in headers:
            return headers[name][:200]
    return None
