"""Reads one answer of Ollama's own wire: bytes as they come to events, and never believes more than it has seen.

One JSON object a line, or, where no stream was asked for, a single object; the last says `done`, and that ends
the answer. Lines end at LF and nowhere else. An error is a line of its own. Calls come whole, with their arguments
as an object, and are kept back until `done`: a stream that broke off never hands out a call. A model that called a
tool wants its reasoning back with the results, so a `Keep` stands before the calls.

Knows no socket, no clock, no session; an error's meaning is failures'. Sources: LLM_WIRE.md W32, W33, §2.5, S2,
S12, S13; ollama/ollama api/types.go (`ChatResponse`), server/routes.go (`ChatHandler`, `streamResponse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from luahost.wire import failures
from luahost.wire.endings import KEPT_OF_AN_ERROR, Endings
from luahost.wire.events import Event, Keep, Start, StopReason, Text, Thinking, Usage
from luahost.wire.lenient import ANSWER_SHARE, NOT_READ, any_json, is_cut, is_heavy, loose
from luahost.wire.messages import ThinkingBlock
from luahost.wire.sse import BOM, MAX_EVENT_BYTES
from luahost.wire.tool_calls import Fragment, ToolCalls


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class Call(msgspec.Struct, gc=False):
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    reasoning_content: str | None = None  # servers that imitate it
    tool_calls: list[Call] | None = None


class Frame(msgspec.Struct, gc=False):
    model: str | None = None
    message: Said | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_decode = msgspec.json.Decoder(Frame).decode

# done_reason -> our stop reason, and the failure's kind where it is one. Old servers say none: that is "stop".
_DONE: dict[str, tuple[StopReason, str | None]] = {
    "": ("end_turn", None),
    "stop": ("end_turn", None),
    "length": ("max_tokens", None),
    "load": ("error", "overloaded"),  # it loaded the model instead of answering: the next try is answered
    "unload": ("error", "invalid_response"),
}


class Decoder(Endings):
    """One answer: `feed` its bytes until `ended`, `close` at their end. Never raises, ends exactly once."""

    def __init__(
        self,
        *,
        status: int,
        content_type: str,
        headers: Mapping[str, str],
        model: str,
        now_s: float | None = None,
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        super().__init__(status, headers, now_s, max_bytes)
        self._streamed = "ndjson" in content_type.lower()
        self._model = model
        self._one_object = False  # its first line is no JSON, so what comes may be one object on many lines
        self._held: list[bytes] = []  # the line that has not ended, or that object
        self._held_bytes = 0
        self._read_any = False
        self._texted = False
        self._thoughts: list[str] = []
        self._thought_bytes = 0
        self._seen = blake2b(digest_size=6)  # of the lines, which hold their time: names the answer
        self._calls = ToolCalls()
        self._number = 0

    @property
    def answered(self) -> bool:
        """Never without the end: the line that says `done` brings the usage too."""
        return self.ended

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self.ended:
            return out
        if not self._ok:
            self._hold(data[: KEPT_OF_AN_ERROR - self._held_bytes])
            return out
        if not self._one_object:
            *lines, data = data.split(b"\n")
            for number, line in enumerate(lines, 1):
                self._hold(line)
                whole = self._release()
                if len(whole) > self._max or is_heavy(whole, ANSWER_SHARE):
                    self._too_large(out)
                elif not self._line(whole, out):
                    if self._read_any:
                        self._garbage(whole, out)
                    else:
                        self._one_object = True
                        data = b"\n".join((whole, *lines[number:], data))
                        break
                if self.ended:
                    return out
        self._hold(data)
        if self._held_bytes > self._max:
            self._too_large(out)
        return out

    def close(self, dropped: bool = False) -> list[Event]:
        """The bytes are over. `dropped`: the transport broke, instead of coming to its end."""
        out: list[Event] = []
        if self.ended:
            return out
        whole = self._release()
        if not self._ok:
            self._refused(whole, out)
            return out
        if is_heavy(whole, ANSWER_SHARE):
            self._too_large(out)
            return out
        self._line(whole, out)
        text = whole.removeprefix(BOM).strip()
        cut = dropped or self._read_any or is_cut(text) or (self._streamed and text[:1] in (b"", b"{"))
        if not self.ended and cut:
            self._incomplete(dropped, out)
        elif not self.ended:
            self._garbage(text, out)
        return out

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)

    def _release(self) -> bytes:
        whole, self._held, self._held_bytes = b"".join(self._held), [], 0
        return whole

    # ── lines ───────────────────────────────────────────────────────────────────────────────────────────

    def _line(self, line: bytes, out: list[Event]) -> bool:
        """Whether it was JSON, or blank."""
        text = line.removeprefix(BOM).strip()
        if not text:
            return True
        try:
            frame = _decode(text)
        except NOT_READ:
            try:
                value = any_json(text)
            except ValueError:
                return False
            frame = loose(Frame, value) if isinstance(value, dict) else Frame()
        self._read_any = True
        self._seen.update(text)
        if frame.error:
            self._in_band({"error": frame.error}, out)
        else:
            self._frame(frame, out)
        return True

    def _frame(self, frame: Frame, out: list[Event]) -> None:
        if not self._started and (frame.message is not None or frame.done):
            self._started = True
            out.append(Start(frame.model or self._model))
        said = frame.message or Said()
        thought = said.thinking or said.reasoning_content
        if thought:
            self.started_content = True
            self._thoughts.append(thought)
            self._thought_bytes += len(thought) + 64
            out.append(Thinking(thought))
        if said.content:
            self.started_content = self._texted = True
            out.append(Text(said.content))
        for call in said.tool_calls or ():  # each is whole; their `index` is 0 for all on some builds
            function = call.function or Function()
            self._calls.add([Fragment(self._number, call.id, function.name, function.arguments)])
            self._number += 1
        if self._thought_bytes + self._calls.kept_bytes > self._max:
            self._too_large(out)
        elif frame.done:
            self._conclude(frame, out)

    def _conclude(self, frame: Frame, out: list[Event]) -> None:
        """The server said that it is done: how did it go?"""
        self._reason = frame.done_reason
        said = failures.clean(self._reason or "", 100)
        stop, kind = _DONE.get((self._reason or "").lower(), (None, None))
        calls = [] if kind else self._calls.take(self._seen.hexdigest())
        if calls and self._thoughts:
            out.append(Keep(ThinkingBlock("".join(self._thoughts), {"wire": "ollama"})))
        if calls:
            self.started_content = True
        out += calls
        usage = Usage(input=_count(frame.prompt_eval_count), output=_count(frame.eval_count))
        if usage != Usage():
            out.append(usage)
        if kind is not None:
            self._fail(kind, f"the server ended the answer with done_reason {said!r}", out, stop)
        elif stop is None and not (self._texted or calls):
            self._fail("invalid_response", f"the server ended without an answer (done_reason {said})", out)
        elif stop == "max_tokens":
            self._end(stop, None, out)
        elif self._calls.malformed:
            self._fail("malformed_tool_call", self._calls.malformed, out)
        else:
            self._end("tool_use" if calls else "end_turn", None, out)


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value < 1e15 else None
