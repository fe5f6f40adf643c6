"""Reads one OpenAI answer: bytes as they come to events, and never believes more than it has seen.

A stream, one body and garbage are told apart by their beginning; a streamed chunk and a whole completion then
take the same path. An answer is finished by `finish_reason` or `[DONE]`, nothing else. Until then its tool
calls are kept back: a stream that broke off never hands out a call. After `finish_reason` the decoder waits
for `[DONE]` or the end, as the usage comes in between; `answered` says that it is only waiting for that.

Some servers want their reasoning back with the history: OpenRouter its reasoning_details, DeepSeek the text when it
called tools. A `Keep` holds them; whether they are sent is for whoever writes the next request.

Knows no socket, no clock, no session; a frame's shape is openai_frames', an error's meaning failures'. Sources:
LLM_WIRE.md §2.4, §2.5; openai-openapi `CreateChatCompletionStreamResponse`; tests/recordings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from luahost.wire import failures, pictures
from luahost.wire.events import Event, Failure, Image, Keep, Refusal, Start, StopReason, Text, Thinking, Usage
from luahost.wire.lenient import NOT_READ, any_json, is_cut
from luahost.wire.messages import State, ThinkingBlock
from luahost.wire.openai_frames import (
    Delta,
    Details,
    Frame,
    ToolDelta,
    bare_error,
    decode_frame,
    finish_meaning,
    fragments,
    parse_usage,
    read_frame,
    spread,
)
from luahost.wire.sse import SSEEvent
from luahost.wire.streamed import Streamed
from luahost.wire.tool_calls import ToolCalls


class Decoder(Streamed):
    """One answer; see Streamed. After the finish reason it is `answered`, and waits for the usage."""

    def __init__(self, **exchange: Any) -> None:
        super().__init__(**exchange)
        self._spoke = False  # choice 0 came with a message, be it empty
        self._texted = False
        self._called = False
        self._refusal: list[str] = []
        self._thoughts: list[str] = []
        self._wants_back = False  # its reasoning may have to go back with the results of its calls
        self._details = Details()
        self._kept_bytes = 0
        self._calls = ToolCalls()
        self._usage: Usage | None = None

    @property
    def answered(self) -> bool:
        return self._reason is not None

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────

    def _read_body(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        try:
            # Gemini's compatible surface wraps its error in an array.
            frame = read_frame(text, unwrap=True) or Frame()
        except ValueError:
            self._not_json(text, dropped, out)
            return
        if not frame.choices and frame.error is None and (error := bare_error(text)):
            self._in_band(error, out)
        else:
            self._frame(frame, out)
        if not self.ended and self._spoke:
            self._conclude(out)
        elif not self.ended:
            self._fail("invalid_response", f"the answer holds no choices: {failures.excerpt(text, 200)}", out)

    def _events(self, events: Iterable[SSEEvent], out: list[Event], *, cut: bool = False) -> None:
        for event in events:
            if self.ended:
                return
            if event.event == "error" and not (cut and is_cut(event.data)):
                self._error_event(event.data, out)
                continue
            try:
                frame: Frame | None = decode_frame(event.data)
            except NOT_READ:
                frame = self._odd_frame(event, out, cut)
            if frame is None:
                continue
            if frame.choices is None and frame.error is None and (error := bare_error(event.data)):
                self._in_band(error, out)
            else:
                self._frame(frame, out)

    def _odd_frame(self, event: SSEEvent, out: list[Event], cut: bool) -> Frame | None:
        try:
            return read_frame(event.data)
        except ValueError:
            start = event.data.lstrip()
        if start.startswith(b"[DONE]"):
            self._conclude(out)
        # Named events and comments in disguise are somebody's keep-alive.
        elif not cut and event.event == "message" and not start.startswith(b":"):
            self._garbage(event.data, out)
        return None

    def _error_event(self, data: bytes, out: list[Event]) -> None:
        try:
            value = any_json(data)
        except ValueError:
            value = failures.excerpt(data, failures.MESSAGE_CHARS)
        if isinstance(value, dict):
            self._usage = parse_usage(value.get("usage")) or self._usage
        self._in_band(value, out)

    def _frame(self, frame: Frame, out: list[Event]) -> None:
        if frame.usage is not None or frame.x_groq is not None:
            groq = frame.x_groq.get("usage") if isinstance(frame.x_groq, dict) else None
            self._usage = parse_usage(frame.usage or groq) or self._usage
        if frame.error:
            self._reason = next((c.finish_reason for c in frame.choices or () if c.finish_reason), self._reason)
            self._in_band({"error": frame.error}, out)
            return
        for choice in frame.choices or ():
            if choice.index:  # n > 1: only the first answer is told; no index at all is index 0
                continue
            if not self._started:
                self._started = True
                self._id = frame.id or ""
                out.append(Start(frame.model or self._model, self._id))
            if choice.error:
                self._reason = choice.finish_reason or self._reason
                self._in_band({"error": choice.error}, out)
                return
            delta = choice.delta or choice.message
            if delta is not None:
                self._spoke = True
                self._delta(delta, out)
            if choice.finish_reason:
                self._finish(choice.finish_reason, out)
            if self._kept_bytes + self._calls.kept_bytes > self._max:
                self._too_large(out)
                return

    def _delta(self, delta: Delta, out: list[Event]) -> None:
        thought = delta.reasoning or delta.reasoning_content or delta.thinking
        if thought:
            self.started_content = True
            self._thoughts.append(thought)
            self._kept_bytes += len(thought) + 64
            self._wants_back = self._wants_back or bool(delta.reasoning_content)
            out.append(Thinking(thought))
        content = delta.content
        if content:
            if isinstance(content, str):
                self.started_content = self._texted = True
                drawn = pictures.of_url(content) if content.startswith("data:image/") else None
                out.append(Image(drawn) if drawn is not None else Text(content))
            else:
                for part in spread(content):
                    self._delta(part, out)
        if delta.images:
            for picture in pictures.of_parts(delta.images):
                self.started_content = self._texted = True
                out.append(Image(picture))
        if delta.reasoning_details:
            self._kept_bytes += self._details.add(delta.reasoning_details)
        if delta.refusal:
            self.started_content = True
            self._refusal.append(delta.refusal)
            self._kept_bytes += len(delta.refusal) + 64
            out.append(Refusal(delta.refusal))
        if delta.tool_calls:
            self._calls.add(fragments(delta.tool_calls))
        if delta.function_call:  # the legacy form: one call, without id or index
            self._calls.add(fragments([ToolDelta(0, None, delta.function_call)]))

    def _finish(self, reason: str, out: list[Event]) -> None:
        _, failing = finish_meaning(reason)
        if self._reason is None or failing:  # a later "stop" does not heal an earlier "length"
            self._reason = reason
        if not failing and not self._refusal:
            self._hand_out_calls(out)

    def _hand_out_calls(self, out: list[Event]) -> None:
        calls = self._calls.take(self._id)
        if calls:
            self.started_content = self._called = True
            self._keep_reasoning(out)
        out += calls

    def _keep_reasoning(self, out: list[Event]) -> None:
        """Once: in front of the calls, or of the end."""
        state: State = {"wire": "openai"}
        if details := self._details.whole():
            state["reasoning_details"] = details
        if self._wants_back and self._called:
            state["reasoning_content"] = True
        if len(state) > 1:
            out.append(Keep(ThinkingBlock("".join(self._thoughts), state)))
        self._details, self._wants_back, self._thoughts = Details(), False, []

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(self, out: list[Event]) -> None:
        stop, kind = finish_meaning(self._reason)
        if self._refusal:
            message = failures.clean("".join(self._refusal)) or "the model refused"
            self._fail("content_filter", message, out, "refusal")
            return
        if kind is not None:
            self._fail(kind, f"the server ended the answer with finish_reason {self._word()!r}", out, stop)
            return
        self._hand_out_calls(out)
        self._keep_reasoning(out)
        if not self._spoke or (stop is None and not (self._texted or self._called)):
            message = f"the server ended without an answer (finish_reason {self._word() or 'missing'})"
            self._fail("invalid_response", message, out)
        elif stop == "max_tokens":
            # Cut off arguments are no wonder here: such a call stands with None, and must not be run.
            self._end(stop, None, out)
        elif self._calls.malformed or (stop == "tool_use" and not (self._called or self._texted)):
            message = self._calls.malformed or "the server announced tool calls and sent none"
            self._fail("malformed_tool_call", message, out)
        else:
            self._end("tool_use" if self._called else "end_turn", None, out)

    def _word(self) -> str:
        """The finish reason as it may be shown."""
        return failures.clean(self._reason or "", 100)

    def _end(self, stop_reason: StopReason, failure: Failure | None, out: list[Event]) -> None:
        if self._usage is not None:
            out.append(self._usage)
        super()._end(stop_reason, failure, out)
