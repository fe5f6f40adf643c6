"""Reads one Gemini answer: bytes as they come to events, and never believes more than it has seen.

It comes in three ways, told apart by its beginning: an event stream (CRLF, no [DONE]), one JSON object, or, from
a server that ignores `alt=sse`, an array of objects. In the middle of an event stream the server may fall back to
bare JSON, without `data:`, to say that it failed; from there on the stream is read as the array is. A chunk, a
whole answer and an error then take the same path.

An answer is finished by a finishReason, nothing else. Until then its calls are kept back: a stream that broke off
never hands out a call. Usage is cumulative and is given out whenever it changed, so it is right at any cut.

A part with a thoughtSignature must go back exactly as it was: a call carries it in its `state`, a text or a thought
is followed by a `Keep` whose text is what was given out last. A call's state has an id only if the server gave it.

Not read: sound, and code that the server ran itself. Knows no socket, no clock, no session; a frame's shape is
gemini_frames', an error's meaning failures'. Sources: LLM_WIRE.md §2.3 W23–W30, §2.5; tests/recordings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from luahost.wire import failures, pictures, sniff
from luahost.wire.events import Event, Image, Keep, Start, Text, Thinking, Usage
from luahost.wire.gemini_frames import (
    Blob,
    Candidate,
    Frame,
    Objects,
    Part,
    finish_meaning,
    parse_usage,
    read_frame,
)
from luahost.wire.lenient import any_json, is_cut
from luahost.wire.messages import ImageBlock, State, TextBlock, ThinkingBlock
from luahost.wire.sse import BOM, SSEEvent
from luahost.wire.streamed import Streamed
from luahost.wire.tool_calls import Fragment, ToolCalls

_BARE_JSON = re.compile(rb"[\r\n][\[{]")  # no field of an event stream begins so


class Decoder(Streamed):
    """One answer; see Streamed. After the finish reason it is `answered`, and waits for the usage."""

    def __init__(self, **exchange: Any) -> None:
        super().__init__(**exchange)
        self._objects: Objects | None = None
        self._line_begins = True  # the next byte of the stream opens a line
        self._seen = blake2b(digest_size=6)  # of the frames: names the answer when the server does not
        self._spoke = False  # candidate 0 came, be it empty
        self._texted = False
        self._called = False
        self._why = ""
        self._calls = ToolCalls()
        self._number = 0
        self._counts: dict[str, Any] = {}
        self._usage: Usage | None = None

    @property
    def answered(self) -> bool:
        return self._reason is not None

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _framed(self) -> bool:
        return self._sse is not None or self._objects is not None

    def _decide(self, *, at_end: bool) -> None:
        super()._decide(at_end=at_end)
        one_body = not self._undecided and self._sse is None
        if one_body and bytes(self._body[: sniff.LOOK_AT]).removeprefix(BOM).lstrip().startswith(b"["):
            self._objects = Objects()

    def _read(self, data: bytes, out: list[Event]) -> None:
        """The next bytes of what comes in several frames."""
        if self._sse is not None and data:
            bare = _BARE_JSON.search(data)
            cut = 0 if self._line_begins and data[0] in b"[{" else bare.start() + 1 if bare else len(data)
            self._line_begins = data[-1] in b"\r\n"
            self._read_events(self._sse, data[:cut], out)
            data = data[cut:]
            if data:
                if not self.ended:
                    self._events(self._sse.close(), out, cut=True)
                self._sse, self._objects = None, Objects()
        if self._objects is not None and not self.ended:
            for text in self._objects.feed(data):
                if len(text) > self._max and not self.ended:
                    self._too_large(out)
                self._text(text, out)
            if not self.ended and self._objects.held > self._max:
                self._too_large(out)

    def _read_body(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        try:
            frame = read_frame(text) or Frame()
        except ValueError:
            self._not_json(text, dropped, out)
            return
        self._frame(frame, text, out)
        if not self.ended and self._spoke:
            self._conclude(out)
        elif not self.ended:
            self._fail("invalid_response", f"the answer holds no candidates: {failures.excerpt(text, 200)}", out)

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────

    def _events(self, events: Iterable[SSEEvent], out: list[Event], *, cut: bool = False) -> None:
        """`cut`: they were flushed by the end of the stream, so half a frame is no wonder."""
        for event in events:
            if self.ended:
                return
            start = event.data.lstrip()
            if event.event == "error" and not (cut and is_cut(event.data)):
                self._error_event(event.data, out)
            elif start.startswith(b"[DONE]"):  # not Google's
                if self.answered:
                    self._conclude(out)
            # Named events and comments in disguise are somebody's keep-alive.
            elif event.event == "message" and not start.startswith(b":"):
                self._text(event.data, out, cut=cut)

    def _error_event(self, data: bytes, out: list[Event]) -> None:
        try:
            error = any_json(data)
        except ValueError:
            error = failures.excerpt(data, failures.MESSAGE_CHARS)
        self._in_band(error, out)

    def _text(self, text: bytes, out: list[Event], *, cut: bool = False) -> None:
        if self.ended:
            return
        try:
            frame = read_frame(text)
        except ValueError:
            if not cut:
                self._garbage(text, out)
            return
        if frame is not None:
            self._frame(frame, text, out)

    def _frame(self, frame: Frame, text: bytes, out: list[Event]) -> None:
        self._id = self._id or frame.responseId or ""
        if not self._id:
            self._seen.update(text)
        feedback = frame.promptFeedback
        if not self._started and (frame.candidates or frame.usageMetadata or feedback):
            self._started = True
            out.append(Start(frame.modelVersion or self._model, self._id))
        for candidate in frame.candidates or ():
            if not candidate.index:  # only the first answer is told; no index at all is index 0
                self._candidate(candidate, out)
        if frame.usageMetadata and not frame.usageMetadata.items() <= self._counts.items():
            self._counts |= frame.usageMetadata  # each count is of the whole answer so far
            usage = parse_usage(self._counts)
            if usage is not None and usage != self._usage:
                self._usage = usage
                out.append(usage)
        if frame.error:
            self._in_band({"error": frame.error}, out)
        elif feedback is not None and feedback.blockReason:
            self._reason = feedback.blockReason
            message = self._with_why("the server refused the prompt", feedback.blockReasonMessage or "")
            self._fail("content_filter", message, out)
        elif self._calls.kept_bytes > self._max:
            self._too_large(out)

    def _candidate(self, candidate: Candidate, out: list[Event]) -> None:
        self._spoke = True
        parts = candidate.content.parts if candidate.content is not None else None
        for part in parts or ():
            self._part(part, out)
        reason = candidate.finishReason
        if not reason:
            return
        stop, failing = finish_meaning(self._reason)
        if failing is None and stop != "max_tokens":  # those are not healed by what a later chunk says
            self._reason, self._why = reason, candidate.finishMessage or ""
        if finish_meaning(self._reason)[1] is None:
            self._hand_out_calls(out)

    def _part(self, part: Part, out: list[Event]) -> None:
        state: State = {"wire": "gemini"}
        if part.thoughtSignature:
            state["thoughtSignature"] = part.thoughtSignature
        call = part.functionCall
        if call is not None:
            if call.id:
                state["id"] = call.id
            kept = state if len(state) > 1 else None
            self._calls.add([Fragment(self._number, call.id, call.name, call.args, kept)])
            self._number += 1
            return
        if part.inlineData is not None or part.fileData is not None:
            self._picture(part, state if len(state) > 1 else None, out)
            return
        text = part.text
        if text is None:
            return
        if text:
            self.started_content = True
            self._texted = self._texted or not part.thought
            out.append(Thinking(text) if part.thought else Text(text))
        if part.thoughtSignature:
            out.append(Keep(ThinkingBlock(text, state) if part.thought else TextBlock(text, state)))

    def _picture(self, part: Part, state: State | None, out: list[Event]) -> None:
        """A thought's picture is a draft and is not told."""
        held, named = part.inlineData or Blob(), part.fileData or Blob()
        block = None
        if held.data and (held.mimeType or "").startswith("image/"):
            block = pictures.of_base64(held.mimeType or "", held.data, state)
        elif named.fileUri:
            block = ImageBlock(named.mimeType or "", url=named.fileUri, state=state)
        if block is not None and not part.thought:
            self.started_content = self._texted = True
            out.append(Image(block))

    def _hand_out_calls(self, out: list[Event]) -> None:
        calls = self._calls.take(self._id or self._seen.hexdigest())
        if calls:
            self.started_content = self._called = True
        out += calls

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(self, out: list[Event]) -> None:
        """The server said that it is done: how did it go?"""
        stop, kind = finish_meaning(self._reason)
        said = failures.clean(self._reason or "", 100)
        if kind is not None:
            ended = f"the server ended the answer with finishReason {said!r}"
            self._fail(kind, self._with_why(ended, self._why), out, stop)
            return
        self._hand_out_calls(out)
        if stop is None and not (self._texted or self._called):
            message = f"the server ended without an answer (finishReason {said or 'missing'})"
            self._fail("invalid_response", message, out)
        elif stop == "max_tokens":
            self._end(stop, None, out)
        elif self._calls.malformed or (stop == "tool_use" and not (self._called or self._texted)):
            message = self._calls.malformed or "the server announced tool calls and sent none"
            self._fail("malformed_tool_call", message, out)
        else:
            self._end("tool_use" if self._called else "end_turn", None, out)

    @staticmethod
    def _with_why(message: str, why: str) -> str:
        why = failures.clean(why, 300)
        return f"{message}: {why}" if why else message
