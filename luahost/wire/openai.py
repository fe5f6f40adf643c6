"""The OpenAI chat-completions wire: conversations to request bytes, answer bytes to events.

Spoken by OpenAI and by most others (Ollama, OpenRouter, llama.cpp, vLLM, LM Studio, Groq, gateways), each
with an accent. So the reading side believes little. Whether bytes are a stream, one body or garbage is
seen from their beginning, the content type only breaks ties. A frame is read by a typed decoder that skips
what it does not need; a frame with a field of an unlikely type is looked at again untyped rather than
lost. A streamed chunk and a whole completion take the same path.

An answer is finished by `finish_reason` or `[DONE]`, nothing else. Until then its tool calls are kept back:
a stream that broke off never hands out a call. After `finish_reason` the decoder waits for `[DONE]` or
the end, as the usage comes in between; `answered` says that it is only waiting for that.

Knows no socket, no clock, no session, no origin, no key but to write it into a header. Sources: LLM_WIRE.md
§2.1, §2.4, §2.5, §3; openai-openapi `CreateChatCompletionStreamResponse`; recordings in tests/recordings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from luahost.wire import failures
from luahost.wire.events import End, Event, Failure, Start, StopReason, Text, Thinking, ToolCall, Usage
from luahost.wire.messages import (
    Conversation,
    Message,
    Options,
    Request,
    Tool,
    ToolResultBlock,
    text_of,
    tool_uses,
)
from luahost.wire.sse import BOM, MAX_EVENT_BYTES, EventTooLarge, SSEEvent, SSEParser

path = "/v1/chat/completions"
models_path = "/v1/models"

_encode_json = msgspec.json.Encoder().encode


# ---- writing -----------------------------------------------------------------------------------------------


class ModelRule(msgspec.Struct, frozen=True):
    """What is different for the models whose whole name matches `pattern`; the first match counts."""

    pattern: str
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"]
    drops: tuple[str, ...] = ()  # options such a model answers with a 400


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one server's accent is written. The default is what every compatible server understands."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    stream_usage: bool = True
    rules: tuple[ModelRule, ...] = ()


COMPATIBLE = Dialect()
# `system` also for reasoning models: the API reads it as `developer`, and servers behind a base_url that
# only look like OpenAI refuse `developer`.
OPENAI = Dialect(
    rules=(
        ModelRule(r"gpt-\d.*-chat.*", "max_tokens"),
        ModelRule(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)).*", "max_completion_tokens", ("temperature", "top_p")),
    )
)


def auth_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def dropped_options(options: Options, *, dialect: Dialect) -> list[str]:
    """The options that are set and will not be sent, because the model refuses them; for a warning."""
    rule = _rule(options.model, dialect)
    return [name for name in rule.drops if getattr(options, name) is not None]


def encode(conversation: Conversation, options: Options, *, dialect: Dialect) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    rule = _rule(options.model, dialect)
    messages: list[dict[str, Any]] = []
    if conversation.system is not None:
        messages.append({"role": dialect.system_role, "content": conversation.system})
    for message in conversation.messages:
        messages += _message(message, dialect)
    tools = [_tool(tool) for tool in conversation.tools]
    body: dict[str, Any] = {"model": options.model, "messages": messages, "stream": options.stream}
    if options.stream and dialect.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = tools
        if options.tool_choice is not None:  # a 400 without tools
            body["tool_choice"] = _tool_choice(options.tool_choice)
    said = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
        "stop": options.stop or None,
    }
    for name, value in said.items():
        if value is not None and name not in rule.drops:
            body[rule.max_tokens_field if name == "max_tokens" else name] = value
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if options.stream else "application/json",
    }
    return Request("POST", path, headers, _encode_json(body))


def _rule(model: str, dialect: Dialect) -> ModelRule:
    matching = (rule for rule in dialect.rules if re.fullmatch(rule.pattern, model))
    return next(matching, ModelRule("", dialect.max_tokens_field))


def _message(message: Message, dialect: Dialect) -> list[dict[str, Any]]:
    """One turn is one message, but for a user's turn with tool results: those come first, one each."""
    text = text_of(message)
    if message.role == "assistant":
        # "" and not null beside calls: OpenAI takes both, chat templates of local servers die of null.
        written: dict[str, Any] = {"role": "assistant", "content": text}
        calls = [
            {
                "id": use.id,
                "type": "function",
                "function": {"name": use.name, "arguments": _encode_json(use.input).decode()},
            }
            for use in tool_uses(message)
        ]
        if calls:
            written["tool_calls"] = calls
        return [written]
    if message.role == "system":
        return [{"role": dialect.system_role, "content": text}]
    blocks = () if isinstance(message.content, str) else message.content
    # The wire has no is_error; the result's text has to say it.
    results: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": block.tool_use_id, "content": block.content}
        for block in blocks
        if isinstance(block, ToolResultBlock)
    ]
    if text or not results:
        results.append({"role": "user", "content": text})
    return results


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


# ---- the frames, as far as they are read -------------------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolDelta(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    thinking: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolDelta] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class _Frame(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_decode_frame = msgspec.json.Decoder(_Frame).decode
_NOT_READ = (msgspec.MsgspecError, ValueError, RecursionError)  # all a decoder of msgspec raises on bytes
_INNER: dict[str, type[msgspec.Struct]] = {
    "choices": _Choice,
    "delta": _Delta,
    "message": _Delta,
    "tool_calls": _ToolDelta,
    "function": _Function,
    "function_call": _Function,
}
_S = TypeVar("_S", bound=msgspec.Struct)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _untyped(data: bytes) -> Any:
    """Any JSON, also with broken UTF-8, lone surrogates or raw control characters. ValueError if none."""
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False, object_hook=_without_surrogates)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _without_surrogates(value: dict[str, Any]) -> dict[str, Any]:
    """Half an emoji cannot be written as UTF-8 later; it becomes U+FFFD here."""
    return {key: _SURROGATE.sub("\ufffd", v) if isinstance(v, str) else v for key, v in value.items()}


def _loose(kind: type[_S], value: dict[str, Any]) -> _S:
    """A frame with unlikely types: what has the right type is taken, the rest is as if it were absent."""
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        found = value.get(field.name)
        inner = _INNER.get(field.name)
        if inner is not None:
            items = [_loose(inner, item) for item in _dicts(found if isinstance(found, list) else [found])]
            many = field.name in ("choices", "tool_calls")
            kept[field.name] = items if many else next(iter(items), None)
            continue
        try:
            kept[field.name] = msgspec.convert(found, field.type, strict=False)
        except msgspec.ValidationError:
            continue
    return kind(**kept)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# ---- tool calls --------------------------------------------------------------------------------------------


def parse_arguments(raw: str) -> dict[str, Any] | None:
    """Strict: one JSON object, or nothing at all, which is `{}`. Never a guess at what was meant."""
    if not raw.strip():
        return {}
    try:
        value = msgspec.json.decode(raw)
    except _NOT_READ:
        return None
    return value if isinstance(value, dict) else None


def _as_text(arguments: Any) -> str:
    """Arguments that came as JSON instead of as its text; "null", which is no object, if unwritable."""
    try:
        # Not msgspec: it would write NaN as null, which is a guess.
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode().decode()
    except (ValueError, RecursionError):
        return "null"


class _Call:
    """One call while its pieces come."""

    __slots__ = ("id", "looks", "name", "pieces")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.looks = 32  # how often `whole` may still parse: a hostile server could ask at every byte

    def whole(self) -> bool:
        """Its arguments are one object already, so more of them would belong to another call."""
        if not (self.looks and self.pieces and self.pieces[-1].rstrip().endswith("}")):
            return False
        self.looks -= 1
        return parse_arguments("".join(self.pieces)) is not None


class _Calls:
    """Sorts tool deltas into calls, in the order the calls began.

    The index alone does not tell: servers leave it out, or give every call index 0 (ollama#15457), and
    some change the id within one call (vLLM) or repeat id and name in each delta (llama-cpp-python).
    """

    def __init__(self) -> None:
        self.kept_bytes = 0
        self._slots: dict[int, _Call] = {}
        self._pending: list[_Call] = []
        self._last: _Call | None = None
        self._by_id: dict[str, _Call | None] = {}  # every id the server used
        self._given: set[str] = set()  # every id handed out
        self._number = 0

    def add(self, deltas: list[_ToolDelta]) -> None:
        for position, delta in enumerate(deltas):
            function = delta.function or _Function()
            call = self._find(delta, function, position, alone=len(deltas) == 1)
            if delta.id and not call.id:
                call.id = delta.id
                self._by_id.setdefault(delta.id, call)
            call.name = call.name or function.name or ""
            arguments = function.arguments
            if arguments is None:
                continue
            if not isinstance(arguments, str):  # an object where its text was due
                arguments = _as_text(arguments)
            if arguments:
                call.pieces.append(arguments)
                self.kept_bytes += len(arguments) + 64

    def _find(self, delta: _ToolDelta, function: _Function, position: int, *, alone: bool) -> _Call:
        slot = position if delta.index is None else delta.index
        call = self._slots.get(slot)
        if delta.index is None:
            known = self._by_id.get(delta.id or "")
            if known is not None:
                return known
            if alone and not delta.id and not function.name and self._last is not None:
                return self._last
        if call is None or self._is_another(call, delta, function):
            call = self._slots[slot] = _Call()
            self._pending.append(call)
            self.kept_bytes += 256
        self._last = call
        return call

    @staticmethod
    def _is_another(call: _Call, delta: _ToolDelta, function: _Function) -> bool:
        if delta.id and call.id and delta.id != call.id:
            return bool(function.name) or call.whole()
        if not delta.id and function.name and call.name:
            return function.arguments not in (None, "") and call.whole()
        return False

    def take(self, stream_id: str) -> list[ToolCall]:
        """All calls so far, whole; those without an id of their own get one."""
        calls: list[ToolCall] = []
        for call in self._pending:
            raw = "".join(call.pieces)
            arguments = parse_arguments(raw) if call.name else None
            calls.append(ToolCall(self._unique(call.id, stream_id), call.name, arguments, raw))
        self._pending.clear()
        self._slots.clear()
        self._by_id = dict.fromkeys(self._by_id)  # the ids stay taken, their calls are closed
        self._last = None
        return calls

    def _unique(self, own: str, stream_id: str) -> str:
        chosen = own
        # The answer's id is in it, so that ids of different turns of one session differ too.
        tail = re.sub(r"[^A-Za-z0-9]", "", stream_id[-40:])[-12:]
        while not chosen or chosen in self._given or (chosen != own and chosen in self._by_id):
            chosen = f"call_{tail}_{self._number}" if tail else f"call_{self._number}"
            self._number += 1
        self._given.add(chosen)
        return chosen


# ---- reading -----------------------------------------------------------------------------------------------

# finish_reason (lower case) -> our stop reason, and the failure's kind where it is one.
_FINISH: dict[str, tuple[StopReason, str | None]] = {
    "stop": ("end_turn", None),
    "end_turn": ("end_turn", None),
    "eos": ("end_turn", None),
    "length": ("max_tokens", None),
    "max_tokens": ("max_tokens", None),
    "model_length": ("max_tokens", None),  # Mistral
    "tool_calls": ("tool_use", None),
    "tool_use": ("tool_use", None),
    "function_call": ("tool_use", None),
    "content_filter": ("content_filter", "content_filter"),
    "safety": ("content_filter", "content_filter"),
    "sensitive": ("content_filter", "content_filter"),  # GLM
    "refusal": ("refusal", "content_filter"),
    "malformed_function_call": ("malformed_tool_call", "malformed_tool_call"),
    "error": ("error", "server_error"),
    "network_error": ("error", "server_error"),  # GLM
    "insufficient_system_resource": ("error", "overloaded"),  # DeepSeek
}

_USAGE: dict[str, tuple[tuple[str, ...], ...]] = {
    "input": (("prompt_tokens",), ("input_tokens",)),
    "output": (("completion_tokens",), ("output_tokens",)),
    "reasoning": (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",)),
    "cache_read": (("prompt_tokens_details", "cached_tokens"), ("prompt_cache_hit_tokens",)),
    "cache_write": (("prompt_tokens_details", "cache_write_tokens"),),
    "total": (("total_tokens",),),
}

_STREAM_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
_LOOK_AT = 4096  # bytes after which the content type has to tell what the beginning did not
_KEPT_OF_AN_ERROR = 256 * 1024


def parse_usage(value: Any) -> Usage | None:
    """What a server counted, or None if it said nothing; nonsense is as if not said."""
    if not isinstance(value, dict):
        return None
    counted: dict[str, Any] = {}
    for name, paths in _USAGE.items():
        for where in paths:
            found: Any = value
            for key in where:
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 1e15:
                counted[name] = int(found)
                break
    cost = value.get("cost")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and (0 <= cost < 1e15):
        counted["cost_usd"] = float(cost)
    return Usage(**counted) if counted else None


class Decoder:
    """One answer: `feed` its bytes until `ended`, `close` at their end. Never raises, ends exactly once.

    `started_content`: something the script can see was emitted, so a retry would repeat it.
    `answered`: the finish reason came; all that can still come is the usage.
    """

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
        self.ended = False
        self.started_content = False
        self._status = status
        self._headers = headers
        self._model = model
        self._now_s = now_s  # only to understand a Retry-After that is a date
        self._max = max_bytes
        self._event_stream = content_type.strip().lower().startswith("text/event-stream")
        self._sse: SSEParser | None = None
        self._body: bytearray = bytearray()  # not a stream, or not yet known
        self._undecided = 200 <= status < 300
        self._started = False
        self._id = ""
        self._spoke = False  # choice 0 came with a message, be it empty
        self._texted = False
        self._called = False
        self._malformed = ""
        self._reason: str | None = None
        self._refusal: list[str] = []
        self._refusal_bytes = 0
        self._calls = _Calls()
        self._usage: Usage | None = None

    @property
    def answered(self) -> bool:
        return self._reason is not None

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self.ended:
            return out
        if self._sse is None:
            self._body += data
            if self._undecided:
                self._decide(at_end=False)
            if self._sse is None:
                self._bound_body(out)
                return out
            data, self._body = bytes(self._body), bytearray()
        self._read(self._sse, data, out)
        return out

    def close(self, dropped: bool = False) -> list[Event]:
        """The bytes are over. `dropped`: the transport broke, instead of coming to its end."""
        out: list[Event] = []
        if self.ended:
            return out
        if self._undecided:
            self._decide(at_end=True)
            if self._sse is not None:
                self._read(self._sse, bytes(self._body), out)
        if not 200 <= self._status < 300:
            failure = failures.classify(self._status, self._headers, bytes(self._body), now_s=self._now_s)
            self._end(failures.stop_reason(failure.kind), failure, out)
        elif self._sse is None:
            self._read_body(bytes(self._body), dropped, out)
        elif not self.ended:
            for event in self._sse.close():
                if not self.ended:
                    self._event(event, out, cut=True)
            if not self.ended and self._reason is not None:
                self._conclude(out)
            elif not self.ended:
                self._incomplete(dropped, out)
        return out

    # -- what kind of bytes

    def _decide(self, *, at_end: bool) -> None:
        """Stream or body, from the first bytes; stays undecided while they may still be either."""
        head = bytes(self._body[:_LOOK_AT])
        if len(head) < len(BOM) and BOM.startswith(head) and not at_end:
            return
        head = head.removeprefix(BOM).lstrip(b" \t\r\n")
        open_end = not at_end and len(self._body) < _LOOK_AT
        if not head:
            if open_end:
                return
            stream = self._event_stream
        elif head.startswith(_STREAM_BEGINNINGS):
            stream = True
        elif any(beginning.startswith(head) for beginning in _STREAM_BEGINNINGS):
            if open_end:
                return
            stream = True
        else:
            stream = self._event_stream and head[:1] not in (b"{", b"[", b"<")
        self._undecided = False
        if stream:
            self._sse = SSEParser(self._max)

    def _bound_body(self, out: list[Event]) -> None:
        if not 200 <= self._status < 300:
            del self._body[_KEPT_OF_AN_ERROR:]
        elif len(self._body) > self._max:
            self._too_large(out)

    # -- frames

    def _read(self, sse: SSEParser, data: bytes, out: list[Event]) -> None:
        try:
            events = sse.feed(data)
        except EventTooLarge as error:
            for event in error.events:
                if not self.ended:
                    self._event(event, out)
            if not self.ended:
                self._too_large(out)
            return
        for event in events:
            self._event(event, out)
            if self.ended:
                return

    def _event(self, event: SSEEvent, out: list[Event], *, cut: bool = False) -> None:
        """`cut`: it was flushed by the end of the stream, so half a frame is no wonder."""
        data = event.data
        if event.event == "error":
            self._error_event(data, out)
            return
        try:
            frame = _decode_frame(data)
        except _NOT_READ:
            if data.lstrip().startswith(b"[DONE]"):
                self._conclude(out)
                return
            try:
                value = _untyped(data)
            except ValueError:
                # Named events and comments in disguise are somebody's keep-alive.
                if not cut and event.event == "message" and not data.lstrip().startswith(b":"):
                    self._garbage(data, out)
                return
            if not isinstance(value, dict):
                return
            frame = _loose(_Frame, value)
        if frame.choices is None and frame.error is None and self._error_object(data, out):
            return
        self._frame(frame, out)

    def _error_object(self, data: bytes, out: list[Event]) -> bool:
        """Older vLLM: the frame itself is the error, `{"object":"error","message":…}`."""
        try:
            value = _untyped(data)
        except ValueError:
            return False
        if not isinstance(value, dict) or "error" not in (value.get("object"), value.get("type")):
            return False
        self._in_band(value, out)
        return True

    def _error_event(self, data: bytes, out: list[Event]) -> None:
        try:
            value = _untyped(data)
        except ValueError:
            value = failures.excerpt(data, failures.MESSAGE_CHARS)
        if isinstance(value, dict):
            self._usage = parse_usage(value.get("usage")) or self._usage
        self._in_band(value, out)

    def _frame(self, frame: _Frame, out: list[Event]) -> None:
        if frame.usage is not None:
            self._usage = parse_usage(frame.usage) or self._usage
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
            if self._refusal_bytes + self._calls.kept_bytes > self._max:
                self._too_large(out)
                return

    def _delta(self, delta: _Delta, out: list[Event]) -> None:
        thought = delta.reasoning or delta.reasoning_content or delta.thinking
        if thought:
            self.started_content = True
            out.append(Thinking(thought))
        content = delta.content
        if content:
            if isinstance(content, str):
                self.started_content = self._texted = True
                out.append(Text(content))
            else:
                self._parts(content, out)
        if delta.refusal:
            self._refuse(delta.refusal)
        if delta.tool_calls:
            self._calls.add(delta.tool_calls)
        if delta.function_call:  # the legacy form: one call, without id or index
            self._calls.add([_ToolDelta(0, None, delta.function_call)])

    def _refuse(self, text: str) -> None:
        self._refusal.append(text)
        self._refusal_bytes += len(text) + 64

    def _parts(self, parts: Any, out: list[Event]) -> None:
        """Content as an array of typed parts; Mistral sends its reasoning so."""
        for part in _dicts(parts):
            text = part.get("text")
            if isinstance(text, str) and text:
                self.started_content = self._texted = True
                out.append(Text(text))
            if isinstance(part.get("refusal"), str) and part["refusal"]:
                self._refuse(part["refusal"])
            thinking = part.get("thinking")
            if isinstance(thinking, list):
                thinking = "".join(p["text"] for p in _dicts(thinking) if isinstance(p.get("text"), str))
            if isinstance(thinking, str) and thinking:
                self.started_content = True
                out.append(Thinking(thinking))

    def _finish(self, reason: str, out: list[Event]) -> None:
        failing = _FINISH.get(reason.lower(), ("end_turn", None))[1] is not None
        if self._reason is None or failing:  # a later "stop" does not heal an earlier "length"
            self._reason = reason
        if not failing and not self._refusal:
            self._hand_out_calls(out)

    def _hand_out_calls(self, out: list[Event]) -> None:
        for call in self._calls.take(self._id):
            self.started_content = self._called = True
            if call.arguments is None and not self._malformed:
                self._malformed = (
                    f"the arguments of the call of {call.name!r} are not one JSON object"
                    if call.name
                    else "the model called a tool without naming it"
                )
            out.append(call)

    # -- ends

    def _conclude(self, out: list[Event]) -> None:
        """The server said that it is done: how did it go?"""
        reason = self._reason
        stop, kind = _FINISH.get((reason or "").lower(), (None, None))
        if self._refusal:
            message = failures.clean("".join(self._refusal)) or "the model refused"
            self._fail("content_filter", message, out, "refusal")
            return
        if kind is not None:
            said = failures.clean(reason or "", 100)
            self._fail(kind, f"the server ended the answer with finish_reason {said!r}", out, stop)
            return
        self._hand_out_calls(out)
        if not self._spoke or (stop is None and not (self._texted or self._called)):
            said = failures.clean(reason or "", 100) or "missing"
            self._fail("invalid_response", f"the server ended without an answer (finish_reason {said})", out)
        elif stop == "max_tokens":
            # Cut off arguments are no wonder here: such a call stands with None, and must not be run.
            self._end(stop, None, out)
        elif self._malformed or (stop == "tool_use" and not (self._called or self._texted)):
            message = self._malformed or "the server announced tool calls and sent none"
            self._fail("malformed_tool_call", message, out)
        else:
            self._end("tool_use" if self._called else "end_turn", None, out)

    def _read_body(self, body: bytes, dropped: bool, out: list[Event]) -> None:
        text = body.removeprefix(BOM).strip()
        try:
            frame = _decode_frame(text)
        except _NOT_READ:
            try:
                value = _untyped(text)
            except ValueError:
                if dropped:
                    self._incomplete(dropped, out)
                else:
                    self._garbage(text, out)
                return
            if isinstance(value, list):  # Gemini's compatible surface wraps its error so
                value = next(iter(_dicts(value)), None)
            frame = _loose(_Frame, value) if isinstance(value, dict) else _Frame()
        if frame.choices or not (frame.error is None and self._error_object(text, out)):
            self._frame(frame, out)
        if self.ended:
            return
        if not self._spoke:
            self._fail("invalid_response", f"the answer holds no choices: {failures.excerpt(text, 200)}", out)
        else:
            self._conclude(out)

    def _in_band(self, error: Any, out: list[Event]) -> None:
        failure = failures.classify_in_band(error, self._headers, status=self._status, now_s=self._now_s)
        self._end(failures.stop_reason(failure.kind), failure, out)

    def _garbage(self, data: bytes, out: list[Event]) -> None:
        seen = failures.excerpt(data, 200)
        self._fail("parse_error", f"the answer is not JSON: {seen}" if seen else "the answer is empty", out)

    def _too_large(self, out: list[Event]) -> None:
        self._fail("too_large", f"the answer, or one event of it, is larger than {self._max} bytes", out)

    def _incomplete(self, dropped: bool, out: list[Event]) -> None:
        how = "the connection broke" if dropped else "the server closed the stream"
        when = "before the answer was complete" if self._started else "before the answer began"
        self._fail("stream_incomplete", f"{how} {when}", out)

    def _fail(self, kind: str, message: str, out: list[Event], stop: StopReason | None = None) -> None:
        failure = Failure(kind=kind, message=message, retryable=kind in failures.RETRYABLE, status=self._status)
        self._end(stop or failures.stop_reason(kind), failure, out)

    def _end(self, stop_reason: StopReason, failure: Failure | None, out: list[Event]) -> None:
        if self._usage is not None:
            out.append(self._usage)
        out.append(End(stop_reason, self._reason, failure))
        self.ended = True
        self._body = bytearray()
