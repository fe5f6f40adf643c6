"""Reads one Anthropic answer: bytes as they come to events, and never believes more than it has seen.

A stream is finished by `message_stop` and nothing else; until then its tool calls are kept back, so one that
broke off never hands out a call. Blocks are told apart by their index alone: servers start the next one before
the last has stopped, and send a signature behind the text (llama.cpp). What a newer server may add is passed
over, events, deltas and blocks alike. A whole message takes the same path as its stream.

Knows no socket, no clock, no session; a frame's shape is anthropic_frames', an error's meaning failures'.
Sources: LLM_WIRE.md W13 to W16, W22, §2.5, §3, SERVERS.md; the `anthropic` package's RawMessageStreamEvent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from luahost.wire import failures
from luahost.wire.anthropic_frames import Block, Delta, Frame, as_usage, counts, read_frame, refusal, stop_meaning
from luahost.wire.events import Event, Failure, Keep, Start, StopReason, Text, Thinking
from luahost.wire.failures import clean
from luahost.wire.lenient import any_json, dicts, is_cut, loose
from luahost.wire.messages import ThinkingBlock
from luahost.wire.sse import SSEEvent
from luahost.wire.streamed import Streamed
from luahost.wire.tool_calls import Fragment, ToolCalls

_MUST_BE_READABLE = ("message", "content_block")  # so they begin, also the event without a name


class _Open:
    """A block that has started and not stopped."""

    __slots__ = ("data", "given", "pieces", "signature", "slot", "type")

    def __init__(self, block: Block, slot: int) -> None:
        self.type = block.type
        self.slot = slot  # of a call, in ToolCalls: an index of the server's may come twice
        self.given = block.input  # by the start; what deltas bring counts before it
        self.pieces: list[str] = []  # of thinking
        self.signature = block.signature
        self.data = block.data  # of redacted thinking


class Decoder(Streamed):
    """One answer; see Streamed. On this wire it is never `answered` before the end."""

    def __init__(self, **exchange: Any) -> None:
        super().__init__(**exchange)
        self._open: dict[int, _Open] = {}
        self._blocks = 0  # that have started
        self._newest = 0  # the index of the last of them
        self._newest_call = False  # and whether it is a call
        self._kept_bytes = 0
        self._texted = False
        self._stop_sequence: str | None = None
        self._details: Any = None
        self._calls = ToolCalls()
        self._counted: dict[str, int] = {}

    def _read_body(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        try:
            message = read_frame(text) or Frame()
        except ValueError:
            self._not_json(text, dropped, out)
            return
        if message.error or message.type == "error":
            self._error(text, out)
        elif isinstance(message.content, list):
            self._begin(message, out)
            for index, block in enumerate(dicts(message.content)):
                self._start_block(index, loose(Block, block), out)
                self._stop_block(index, out)
            self._finish(message)
            self._conclude(out)
        else:
            self._fail("invalid_response", f"the answer holds no content: {failures.excerpt(text, 200)}", out)

    # ── events ──────────────────────────────────────────────────────────────────────────────────────────

    def _events(self, events: Iterable[SSEEvent], out: list[Event], *, cut: bool = False) -> None:
        for event in events:
            if self.ended:
                return
            if event.event == "error" and not (cut and is_cut(event.data)):
                self._error(event.data, out)
                continue
            try:
                frame = read_frame(event.data)
            except ValueError:
                self._odd_event(event, out, cut)
                continue
            if frame is not None:
                self._frame(frame.type or event.event, frame, event.data, out)
            if not self.ended and self._kept_bytes + self._calls.kept_bytes > self._max:
                self._too_large(out)

    def _odd_event(self, event: SSEEvent, out: list[Event], cut: bool) -> None:
        start = event.data.lstrip()
        if start.startswith(b"[DONE]"):  # of gateways, where OpenAI's wire shows through
            if self._reason is not None:
                self._conclude(out)
        # Other named events are somebody's keep-alive.
        elif not cut and event.event.startswith(_MUST_BE_READABLE) and not start.startswith(b":"):
            self._garbage(event.data, out)

    def _frame(self, kind: str, frame: Frame, data: bytes, out: list[Event]) -> None:
        index = self._newest if frame.index is None else frame.index
        if not self._started and kind in ("content_block_start", "content_block_delta"):
            self._begin(Frame(), out)  # the server left message_start out
        if kind == "content_block_delta":
            self._delta(index, frame.delta or Delta(), out)
        elif kind == "content_block_start":
            self._start_block(index, frame.content_block or Block(), out)
        elif kind == "content_block_stop":
            self._stop_block(index, out)
        elif kind == "message_start":
            self._begin(loose(Frame, frame.message if isinstance(frame.message, dict) else {}), out)
        elif kind == "message_delta":
            self._counted |= counts(frame.usage)
            self._finish(frame.delta or Delta())
        elif kind == "message_stop":
            self._conclude(out)
        elif kind == "error" or frame.error:  # in OpenAI's shape it has no type
            self._error(data, out)

    def _begin(self, message: Frame, out: list[Event]) -> None:
        self._counted |= counts(message.usage)
        if not self._started:
            self._started = True
            self._id = message.id or ""
            out.append(Start(message.model or self._model, self._id))

    def _start_block(self, index: int, block: Block, out: list[Event]) -> None:
        self._stop_block(index, out)
        self._blocks += 1
        opened = self._open[index] = _Open(block, self._blocks)
        self._newest, self._newest_call = index, block.type == "tool_use"
        self._kept_bytes += 256 + len(block.data or "") + len(block.signature or "")
        if block.type == "tool_use":
            self._calls.add([Fragment(opened.slot, block.id, block.name)])
        elif block.type == "text":
            self._text(block.text, out)
        elif block.type == "thinking":
            self._thinking(opened, block.thinking, out)

    def _delta(self, index: int, delta: Delta, out: list[Event]) -> None:
        opened = self._open.get(index)
        if delta.type == "text_delta":
            self._text(delta.text, out)
        elif delta.type == "thinking_delta":
            self._thinking(opened, delta.thinking, out)
        elif delta.type == "signature_delta" and opened is not None and delta.signature:
            opened.signature = delta.signature
            self._kept_bytes += len(delta.signature)
        elif delta.type == "input_json_delta" and delta.partial_json not in (None, ""):
            if opened is None:  # a call that never began: one without a name, so it fails the answer
                opened = _Open(Block("tool_use"), -1 - index)
            if opened.type == "tool_use":  # and not one that the server runs itself
                opened.given = None
                self._newest_call = self._newest_call and index != self._newest
                self._calls.add([Fragment(opened.slot, arguments=delta.partial_json)])

    def _text(self, text: str | None, out: list[Event]) -> None:
        if text:
            self.started_content = self._texted = True
            out.append(Text(text))

    def _thinking(self, opened: _Open | None, thinking: str | None, out: list[Event]) -> None:
        if thinking:
            self.started_content = True
            out.append(Thinking(thinking))
            if opened is not None:
                opened.pieces.append(thinking)
                self._kept_bytes += len(thinking) + 64

    def _stop_block(self, index: int, out: list[Event]) -> None:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        if opened.type == "tool_use" and opened.given not in (None, "", {}):
            self._calls.add([Fragment(opened.slot, arguments=opened.given)])
        elif opened.type == "thinking" and opened.signature:  # without one nobody takes it back
            state = {"wire": "anthropic", "signature": opened.signature}
            out.append(Keep(ThinkingBlock("".join(opened.pieces), state)))
        elif opened.type == "redacted_thinking" and opened.data:
            out.append(Keep(ThinkingBlock("", {"wire": "anthropic", "redacted": opened.data})))

    def _finish(self, said: Delta | Frame) -> None:
        self._reason = said.stop_reason or self._reason
        self._stop_sequence = said.stop_sequence or self._stop_sequence
        self._details = said.stop_details or self._details

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(self, out: list[Event]) -> None:
        for index in list(self._open):
            self._stop_block(index, out)
        stop, kind = stop_meaning(self._reason, self._stop_sequence)
        if kind is not None:
            self._failing_stop(kind, stop, out)
            return
        called = self._hand_out_calls(stop, out)
        if not self._started or (stop is None and not (self._texted or called)):
            said = clean(self._reason or "", 100) or "missing"
            self._fail("invalid_response", f"the server ended without an answer (stop_reason {said})", out)
        elif stop == "max_tokens":
            # Cut off arguments are no wonder here: such a call stands with None, and must not be run.
            self._end(stop, None, out)
        elif self._calls.malformed or (stop == "tool_use" and not (called or self._texted)):
            message = self._calls.malformed or "the server announced tool calls and sent none"
            self._fail("malformed_tool_call", message, out)
        elif called:
            self._end("tool_use", None, out)
        else:
            self._end("end_turn" if stop in (None, "tool_use") else stop, None, out)

    def _hand_out_calls(self, stop: StopReason | None, out: list[Event]) -> bool:
        calls = self._calls.take(self._id)
        if stop == "max_tokens" and self._newest_call and calls:
            # The limit fell into the last call, before a word of its arguments; or it came in a body, where
            # they are parsed as far as they went. Neither `{}` nor the half may be taken for the whole.
            calls[-1] = msgspec.structs.replace(calls[-1], arguments=None)
        self.started_content = self.started_content or bool(calls)
        out += calls
        return bool(calls)

    def _failing_stop(self, kind: str, stop: StopReason | None, out: list[Event]) -> None:
        why, category = refusal(self._details)
        message = why or f"the server ended the answer with stop_reason {clean(self._reason or '', 100)!r}"
        self._failed(Failure(kind=kind, message=message, status=self._status, provider_code=category), out, stop)

    def _error(self, data: bytes, out: list[Event]) -> None:
        """An error inside a 200, whatever its shape."""
        try:
            self._in_band(any_json(data), out)
        except ValueError:
            self._in_band(failures.excerpt(data, failures.MESSAGE_CHARS), out)

    def _end(self, stop_reason: StopReason, failure: Failure | None, out: list[Event]) -> None:
        if (usage := as_usage(self._counted)) is not None:
            out.append(usage)
        super()._end(stop_reason, failure, out)
