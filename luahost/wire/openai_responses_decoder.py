"""Reads one answer of the Responses API: bytes as they come to events, and never believes more than it has seen.

An answer is a list of items (reasoning, messages, calls), each of which starts, grows and is done. It is finished
by response.completed, incomplete or failed, nothing else; until then its calls are kept back, and with them any
reasoning comes behind the first of them, for the order of items is what the server wants back. A whole response
takes the same path as its stream, and so does an item of which no piece was streamed.

Reasoning goes back as it came, encrypted, or it does not go back: a `Keep` holds the item.

Knows no socket, no clock, no session; an error's meaning is failures'. Sources: LLM_WIRE.md W9, §2.5; the `openai`
package's ResponseStreamEvent; tests/recordings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from luahost.wire import failures, pictures
from luahost.wire.events import (
    Event,
    Failure,
    Image,
    Keep,
    Refusal,
    Start,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from luahost.wire.lenient import NOT_READ, any_json, dicts, is_cut, loose
from luahost.wire.messages import TextBlock, ThinkingBlock
from luahost.wire.openai_frames import parse_usage
from luahost.wire.sse import SSEEvent
from luahost.wire.streamed import Streamed
from luahost.wire.tool_calls import Fragment, ToolCalls


class Frame(msgspec.Struct, gc=False):
    """An event of a stream, or a whole response; `error`, `code` and `message` are those of an `error` event."""

    type: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    delta: Any = None
    summary_index: int | None = None
    item: Any = None
    response: Any = None
    error: Any = None


class Response(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    object: str | None = None
    status: str | None = None
    output: Any = None
    usage: Any = None
    error: Any = None
    incomplete_details: Any = None


_decode = msgspec.json.Decoder(Frame).decode

_TEXT, _REFUSAL = "response.output_text.delta", "response.refusal.delta"
_THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


def read_frame(data: bytes) -> Frame | None:
    """ValueError if it is no JSON, None if it is JSON but no object."""
    try:
        return _decode(data)
    except NOT_READ:
        value = any_json(data)
    return loose(Frame, value) if isinstance(value, dict) else None


class _Item:
    """What has come of one item."""

    def __init__(self, key: str, item: dict[str, Any]) -> None:
        self.key = key
        self.type = _word(item, "type")
        self.item = item
        self.pieces: list[str] = []  # of a call's arguments, or a thought
        self.text: list[str] = []
        self.refused = False
        self.summary = 0  # the last part of the summary that came
        self.done = False
        self.waits = False


class Decoder(Streamed):
    """One answer; see Streamed. On this wire it is never `answered` before the end."""

    def __init__(self, **exchange: Any) -> None:
        super().__init__(**exchange)
        self._items: dict[str, _Item] = {}
        self._newest = ""
        self._waiting: list[_Item] = []  # from the first call on
        self._texted = False
        self._refusal: list[str] = []
        self._kept_bytes = 0
        self._usage: Usage | None = None

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────

    def _read_body(self, text: bytes, dropped: bool, out: list[Event]) -> None:
        try:
            value = any_json(text)
        except ValueError:
            self._not_json(text, dropped, out)
            return
        response = loose(Response, value if isinstance(value, dict) else {})
        if response.error and response.status is None:
            self._in_band(value, out)
        elif response.status is None or not isinstance(response.output, list):
            self._fail("invalid_response", f"the answer holds no output: {failures.excerpt(text, 200)}", out)
        else:
            self._conclude_with(response, out)

    def _events(self, events: Iterable[SSEEvent], out: list[Event], *, cut: bool = False) -> None:
        for event in events:
            if self.ended:
                return
            try:
                frame = read_frame(event.data)
            except ValueError:
                start = event.data.lstrip()
                if event.event == "error" and not (cut and is_cut(event.data)):
                    self._in_band(failures.excerpt(event.data, failures.MESSAGE_CHARS), out)
                # Other named events are somebody's keep-alive.
                elif not cut and event.event.startswith(("message", "response")) and start[:1] not in (b"[", b":"):
                    self._garbage(event.data, out)
                continue
            if frame is not None:
                self._frame(frame.type or event.event, frame, event.data, out)
            if not self.ended and self._kept_bytes > self._max:
                self._too_large(out)

    def _frame(self, kind: str, frame: Frame, data: bytes, out: list[Event]) -> None:
        if kind == _TEXT:
            self._text(self._item(frame), frame.delta, out)
        elif kind in _THOUGHTS:
            self._thought(self._item(frame), frame.delta, frame.summary_index or 0, out)
        elif kind == "response.function_call_arguments.delta":
            item = self._item(frame)
            if isinstance(frame.delta, str):
                item.pieces.append(frame.delta)
                self._kept_bytes += len(frame.delta) + 64
        elif kind == _REFUSAL:
            self._refuse(self._item(frame), frame.delta, out)
        elif kind == "response.output_item.added" and isinstance(frame.item, dict):
            self._begin(None, out)
            self._open(frame.item, frame.output_index)
        elif kind == "response.output_item.done" and isinstance(frame.item, dict):
            self._begin(None, out)
            self._done(frame.item, frame.output_index, out)
        elif kind == "error" or (frame.error and not kind.startswith("response.")):
            self._in_band(_error(any_json(data)), out)
        elif kind in _TERMINAL:
            response = loose(Response, frame.response if isinstance(frame.response, dict) else {})
            response.status = response.status or kind.removeprefix("response.")
            self._conclude_with(response, out)
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self._begin(frame.response, out)

    def _begin(self, response: Any, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            said = loose(Response, response if isinstance(response, dict) else {})
            self._id = said.id or ""
            out.append(Start(said.model or self._model, self._id))

    # ── items ───────────────────────────────────────────────────────────────────────────────────────────

    def _item(self, frame: Frame) -> _Item:
        """The one a delta belongs to: by its id, its place, or the newest."""
        for key in (frame.item_id, None if frame.output_index is None else f"#{frame.output_index}", self._newest):
            if key is not None and key in self._items:
                return self._items[key]
        return self._open({"id": frame.item_id}, frame.output_index)

    def _open(self, item: dict[str, Any], index: int | None) -> _Item:
        id = _word(item, "id")
        known = self._items.get(id) or self._items.get(f"#{index}")
        if known is not None:
            if not known.type:
                known.type, known.item = _word(item, "type"), item
            return known
        opened = _Item(id or f"#{index if index is not None else len(self._items)}", item)
        self._newest = opened.key
        self._items[opened.key] = opened
        if id and index is not None:
            self._items.setdefault(f"#{index}", opened)
        self._kept_bytes += 512
        if opened.type == "function_call" or self._waiting:
            self._wait(opened)
        return opened

    def _wait(self, opened: _Item) -> None:
        if not opened.waits:
            opened.waits = True
            self._waiting.append(opened)

    def _done(self, item: dict[str, Any], index: int | None, out: list[Event]) -> None:
        """The item as a whole; what of it was not streamed is told now."""
        opened = self._open(item, index)
        if opened.done:
            return
        opened.done, opened.item = True, item
        opened.type = opened.type or _word(item, "type")
        if opened.type == "function_call":
            self._wait(opened)
        if opened.type in ("function_call", "reasoning"):
            self._kept_bytes += sum(len(value) for value in item.values() if isinstance(value, str))
        if opened.type == "message":
            self._message(opened, out)
        elif opened.type == "reasoning":
            self._reasoning(opened, out)
        elif opened.type == "image_generation_call":
            block = pictures.of_base64(f"image/{_word(item, 'output_format') or 'png'}", _word(item, "result"))
            if block is not None:
                self.started_content = self._texted = True
                out.append(Image(block))
        if opened.type not in ("function_call", "reasoning"):
            opened.item = {}  # told, and as large as the server likes

    def _message(self, opened: _Item, out: list[Event]) -> None:
        for part in dicts(opened.item.get("content")):
            if not opened.text and _word(part, "type") == "output_text":
                self._text(opened, part.get("text"), out, streamed=False)
            elif not opened.refused and _word(part, "type") == "refusal":
                self._refuse(opened, part.get("refusal"), out, streamed=False)
        if phase := _word(opened.item, "phase"):
            text = "".join(
                _word(part, "text")
                for part in dicts(opened.item.get("content"))
                if _word(part, "type") == "output_text"
            )
            state = {"wire": "openai-responses", "phase": phase}
            if text and not self._waiting:
                out.append(Keep(TextBlock(text, state)))

    def _reasoning(self, opened: _Item, out: list[Event]) -> None:
        streamed = bool(opened.pieces)
        for kind in ("summary", "content"):
            for place, part in enumerate(dicts(opened.item.get(kind))):
                if not streamed:
                    self._thought(opened, part.get("text"), place, out)
        if not self._waiting:
            self._keep(opened, out)

    @staticmethod
    def _keep(opened: _Item, out: list[Event]) -> None:
        if _word(opened.item, "encrypted_content"):  # without it the server no longer knows the item
            # What is back is what was sent, but for a status, which is none of a request's.
            item = {name: value for name, value in opened.item.items() if name != "status" and value is not None}
            out.append(Keep(ThinkingBlock("".join(opened.pieces), {"wire": "openai-responses", "item": item})))

    def _text(self, opened: _Item, text: Any, out: list[Event], *, streamed: bool = True) -> None:
        self._begin(None, out)
        if isinstance(text, str) and text:
            self.started_content = self._texted = True
            if streamed:
                opened.text.append("")  # that there was some
            out.append(Text(text))

    def _thought(self, opened: _Item, text: Any, place: int, out: list[Event]) -> None:
        self._begin(None, out)
        if not isinstance(text, str) or not text:
            return
        if place != opened.summary and opened.pieces:  # the summary's next part
            text = f"\n\n{text}"
        opened.summary = place
        opened.pieces.append(text)
        self._kept_bytes += len(text) + 64
        self.started_content = True
        out.append(Thinking(text))

    def _refuse(self, opened: _Item, text: Any, out: list[Event], *, streamed: bool = True) -> None:
        self._begin(None, out)
        if isinstance(text, str) and text:
            self.started_content = True
            opened.refused = opened.refused or streamed
            self._refusal.append(text)
            self._kept_bytes += len(text) + 64
            out.append(Refusal(text))

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude_with(self, response: Response, out: list[Event]) -> None:
        """The server said that it is done: how did it go?"""
        self._begin(msgspec.to_builtins(response), out)
        for index, item in enumerate(dicts(response.output)):
            self._done(item, index, out)
        self._usage = parse_usage(response.usage) or self._usage
        details = response.incomplete_details
        why = _word(details, "reason") if isinstance(details, dict) else ""
        status = response.status or ""
        self._reason = why or status or None
        if response.error and status != "completed":
            self._in_band({"error": response.error}, out)
        elif why == "content_filter":
            self._fail("content_filter", "the server ended the answer with reason 'content_filter'", out)
        elif self._refusal:
            message = failures.clean("".join(self._refusal)) or "the model refused"
            self._fail("content_filter", message, out, "refusal")
        elif status == "incomplete" and why in ("max_output_tokens", "max_tokens", ""):
            self._hand_out(out)
            self._end("max_tokens", None, out)
        elif status != "completed":
            said = failures.clean(why or status, 100)
            self._fail("server_error", f"the server ended the answer with status {said!r}", out)
        else:
            self._completed(out)

    def _completed(self, out: list[Event]) -> None:
        called, malformed = self._hand_out(out)
        if malformed:
            self._fail("malformed_tool_call", malformed, out)
        elif called:
            self._end("tool_use", None, out)
        elif not self._items:
            self._fail("invalid_response", "the server ended without an answer (no output)", out)
        else:
            self._end("end_turn", None, out)

    def _hand_out(self, out: list[Event]) -> tuple[bool, str]:
        """The calls, and what the items between them keep. Whether there were any, and what is wrong with one."""
        calls = ToolCalls()
        waiting, self._waiting = self._waiting, []
        asked = [opened for opened in waiting if opened.type == "function_call"]
        for number, opened in enumerate(asked):
            arguments = opened.item.get("arguments") if opened.done else None
            text = arguments if arguments not in (None, "") else "".join(opened.pieces)
            calls.add([Fragment(number, _word(opened.item, "call_id"), _word(opened.item, "name"), text)])
        taken = calls.take(self._id)
        made: dict[int, ToolCall] = {id(opened): call for opened, call in zip(asked, taken, strict=True)}
        for opened in waiting:
            if opened.type == "reasoning":
                self._keep(opened, out)
            elif (call := made.get(id(opened))) is not None:
                # Half a call is none: the limit fell into it, maybe before a word of its arguments.
                whole = opened.done and _word(opened.item, "status") != "incomplete"
                out.append(call if whole else msgspec.structs.replace(call, arguments=None))
        self.started_content = self.started_content or bool(taken)
        return bool(taken), calls.malformed

    def _end(self, stop_reason: StopReason, failure: Failure | None, out: list[Event]) -> None:
        if self._usage is not None:
            out.append(self._usage)
        super()._end(stop_reason, failure, out)


def _word(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""


def _error(value: Any) -> Any:
    """An `error` event holds its words itself, and its type is no word for what went wrong."""
    if not isinstance(value, dict) or value.get("error"):
        return value
    return {"error": {name: value.get(name) for name in ("code", "message", "param")}}
