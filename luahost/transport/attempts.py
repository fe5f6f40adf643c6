"""Attempts: one call may be several requests, and this is the only layer that repeats any.

Decides nothing itself: wire.retry says wait or give up, from what failed and how. A wait is a sleep that every
cancel and every deadline ends. Nothing is repeated once a piece of content was given out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Hashable

import msgspec
import trio

from luahost.errors import WorldError
from luahost.gate.hosts import Origin
from luahost.transport.client import Answer, Client
from luahost.transport.settings import Deadlines
from luahost.wire import retry
from luahost.wire.decoder import Decoder
from luahost.wire.events import SHOWN, End, Event, Failure, Retry, joined
from luahost.wire.failures import stop_reason
from luahost.wire.messages import Request

FED_AT_ONCE = 16 * 1024
"""Of a piece of an answer: it may be thousands of the smallest events."""

GIVEN_AT_ONCE = 16
"""Events, before others have their turn."""

AFTER_ANSWER_S = 2.0
"""How long to wait for usage once the finish reason came; some servers never end their stream."""


__all__ = ["Attempts", "Client", "Report", "Target"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes, with what, and for whom."""

    origin: Origin
    prefix: str
    headers: dict[str, str]
    may_be_private: bool
    owner: Hashable = None


class Report(msgspec.Struct, kw_only=True):
    """What happened besides the events."""

    attempts: int = 0
    reached: bool = False  # some request was sent: it may have cost
    request_id: str | None = None
    queue_s: float = 0.0


Take = Callable[[Event], Awaitable[bool]]
"""Takes an event; False when no more are wanted."""


class _Stopped(Exception):
    """The taker wants no more."""


class Attempts:
    """One call. `run` gives its events to `take`, `End` last unless the taker stopped."""

    def __init__(  # noqa: PLR0917 - the parts of one call, each once
        self,
        client: Client,
        request: Request,
        target: Target,
        decoder: Callable[[Answer], Decoder],
        deadlines: Deadlines,
        policy: retry.RetryPolicy,
        rng: random.Random,
    ) -> None:
        self._client, self._request, self._target, self._decoder = client, request, target, decoder
        self._deadlines, self._policy, self._rng = deadlines, policy, rng
        self.report = Report()
        self.in_pieces = True

    async def run(self, take: Take, *, in_pieces: bool = True) -> None:
        """`in_pieces` is False for a taker that has no use for single pieces of text: they come as few."""
        self.in_pieces = in_pieces
        began = trio.current_time()
        overall_s = self._deadlines.overall_s
        end = None
        with trio.CancelScope(deadline=began + overall_s):
            try:
                end = await self._repeat(take, began)
            except _Stopped:
                return
        if end is None:
            failure = _timeout("overall", f"the call took longer than overall_timeout = {overall_s:g} s")
            end = End("error", None, failure)
        await take(end)

    async def _repeat(self, take: Take, began: float) -> End:
        while True:
            self.report.attempts += 1
            attempt = _Attempt(self, take)
            end = await attempt.run()
            failure = end.failure
            if failure is None and attempt.empty and end.stop_reason == "end_turn":
                failure = Failure(kind="empty_response", message="the model answered nothing", retryable=True)
                end = End("error", end.raw_reason, failure)
            if failure is None:
                break
            now = trio.current_time()
            remaining = began + self._deadlines.overall_s - now
            verdict = retry.decide(
                failure,
                attempt=self.report.attempts,
                started_content=attempt.started_content,
                elapsed_s=now - began,
                remaining_s=None if math.isinf(remaining) else max(0.0, remaining),
                rand=self._rng.random(),
                policy=self._policy,
                should_retry=attempt.should_retry,
            )
            if isinstance(verdict, retry.GiveUp):
                end = _with_note(end, failure, verdict.note)
                break
            if not await take(Retry(self.report.attempts, verdict.seconds, failure)):
                raise _Stopped
            await trio.sleep(verdict.seconds)
        for event in attempt.held:
            if not await take(event):
                raise _Stopped
        return end


class _Attempt:
    """One request and its answer."""

    def __init__(self, call: Attempts, take: Take) -> None:
        self._call, self._take = call, take
        self._scope = trio.CancelScope()
        self.held: list[Event] = []  # usage of a failed attempt; given out only if it was the last
        self.empty = True
        self.started_content = False
        self.should_retry: bool | None = None
        self._decoder: Decoder | None = None
        self._end: End | None = None
        self._refused = False  # by its status

    async def run(self) -> End:
        call, report = self._call, self._call.report
        request, target = call._request, call._target
        try:
            with self._scope:
                async with call._client.open(
                    request.method,
                    target.origin,
                    target.prefix + request.path,
                    request.headers | target.headers,
                    request.body,
                    connect_timeout_s=call._deadlines.connect_s,
                    may_be_private=target.may_be_private,
                    owner=target.owner,
                    on_connected=self._connected,
                ) as answer:
                    self._refused = not 200 <= answer.status < 300
                    report.request_id = _request_id(answer.headers) or report.request_id
                    self.should_retry = retry.should_retry(answer.headers)
                    self._decoder = call._decoder(answer)
                    await self._listen(answer, self._decoder)
        except WorldError as error:
            return await self._broke(error)
        if self._scope.cancelled_caught:
            return await self._timed_out()
        assert self._end is not None, "every decoder ends"
        return self._end

    def _connected(self, queue_s: float) -> None:
        """The connection stands and the request is about to be sent: the first token's time begins."""
        self._call.report.reached = True
        self._call.report.queue_s += queue_s
        self._scope.deadline = trio.current_time() + self._call._deadlines.first_token_s

    async def _listen(self, answer: Answer, decoder: Decoder) -> None:
        first_token, after_answer = self._scope.deadline, math.inf
        while self._end is None:
            piece = await answer.receive()
            came = trio.current_time()
            for at in range(0, 1 if piece is None else len(piece), FED_AT_ONCE):
                if at:
                    await self._call._client.pace.turn(self._call._target.owner)
                events = decoder.close() if piece is None else decoder.feed(piece[at : at + FED_AT_ONCE])
                if events:
                    self._scope.deadline = math.inf  # a slow taker is not a slow server
                    await self._give(events)
            now = trio.current_time()
            if decoder.answered:
                after_answer = min(after_answer + now - came, now + AFTER_ANSWER_S)
                self._scope.deadline = after_answer
            elif self.started_content:
                self._scope.deadline = now + self._call._deadlines.idle_s
            else:
                self._scope.deadline = first_token

    async def _give(self, events: list[Event]) -> None:
        pace, owner = self._call._client.pace, self._call._target.owner
        for n, event in enumerate(events if self._call.in_pieces else joined(events)):
            if n % GIVEN_AT_ONCE == 0:
                await pace.turn(owner)
            if isinstance(event, End):
                self._end = event
                return
            if not self.started_content and isinstance(event, SHOWN):
                self.empty = False
                self.started_content = True
                held, self.held = self.held, []
                for before in held:
                    if not await self._take(before):
                        raise _Stopped
            if not self.started_content:
                self.held.append(event)
            elif not await self._take(event):
                raise _Stopped

    async def _broke(self, error: WorldError) -> End:
        """The transport failed. What the server had said by then comes first: its refusal, or its content."""
        begun = self.started_content and error.kind != "too_large"
        if self._decoder is not None and (begun or self._refused):
            await self._give(self._decoder.close(dropped=True))
            if self._end is not None:
                return self._end
        failure = Failure(
            kind=error.kind,
            message=error.message,
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
            phase=error.phase or None,
        )
        return End(stop_reason(error.kind), None, failure)

    async def _timed_out(self) -> End:
        decoder, limits = self._decoder, self._call._deadlines
        if decoder is not None and (decoder.answered or self._refused):
            await self._give(decoder.close(dropped=self._refused))
            if self._end is not None:
                return self._end
        if self.started_content:
            failure = _timeout("idle", f"the server fell silent for idle_timeout = {limits.idle_s:g} s")
        else:
            text = f"no content within first_token_timeout = {limits.first_token_s:g} s"
            failure = _timeout("first_token", text)
        return End("error", None, failure)


def _timeout(phase: str, message: str) -> Failure:
    return Failure(kind="timeout", message=message, retryable=True, phase=phase)


def _with_note(end: End, failure: Failure, note: str) -> End:
    """Says behind the failure's own message why it was not tried again."""
    if note:
        failure = msgspec.structs.replace(failure, message=f"{failure.message} ({note})")
    return End(end.stop_reason, end.raw_reason, failure)


def _request_id(headers: dict[str, str]) -> str | None:
    for name in ("x-request-id", "request-id", "x-generation-id"):
        if name in headers:
            return headers[name][:200]
    return None
