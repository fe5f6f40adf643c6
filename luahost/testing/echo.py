"""What EchoModel says: pure functions from a request's body to a whole answer, and that answer's JSON.

The same request gets the same words, ids and counts: nothing is drawn, no clock is read. `answer` decides
everything (text or tool calls, cut or not, the usage); `whole` and `chunks` only write it down, at once or in
pieces. A request that makes no sense is a `Refusal`.

Knows no socket. Wire facts: LLM_WIRE.md 2.1 (W1-W4, W10).
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from luahost.testing.http1 import Refusal

SHORT_PROMPT_WORDS = 40
DOWN = "down"  # the name of a model that is always overloaded
CREATED_UNIX_S = 1_700_000_000  # a constant, so that the same request gets the same bytes

Reply = Callable[[list[dict[str, Any]]], str]


class ToolCall(NamedTuple):
    id: str
    name: str
    arguments: str  # JSON text, as the prompt wrote it


class Answer(NamedTuple):
    id: str
    model: str
    text: str
    tool_calls: list[ToolCall]
    finish_reason: str  # stop | length | tool_calls
    usage: dict[str, int]


def text_of(message: dict[str, Any]) -> str:
    """The text of one message: its string, or its text parts run together."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def default_reply(messages: list[dict[str, Any]]) -> str:
    """What EchoModel says by itself: tool results, a short prompt, or a long one in brief."""
    if messages[-1]["role"] == "tool":
        return "Tool said: " + " ".join(text_of(message) for message in _trailing_tools(messages))
    prompt = _last_user_text(messages)
    words = prompt.split()
    if len(words) <= SHORT_PROMPT_WORDS:
        return f"You said: {prompt}"
    sentence = re.match(r".+?[.!?](?=\s|$)", prompt.strip(), re.DOTALL)
    first = (sentence.group() if sentence else prompt).split()
    quoted = " ".join(first[:30]) + (" …" if len(first) > 30 else "")
    return f"A text of {len(words)} words. It begins: “{quoted}” It ends: “… {' '.join(words[-6:])}”"


# ── answers that fit a schema ───────────────────────────────────────────────────────────────────────────


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """What response_format wants, or None."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_schema", "json_object"):
        return None
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else {"type": "object"}


def _filled(schema: dict[str, Any], prompt: str) -> str:
    """JSON that fits: texts are the prompt's first sentence, numbers its count of words, lists have one item."""
    sentence = re.match(r".+?[.!?](?=\s|$)", prompt.strip(), re.DOTALL)
    first = " ".join((sentence.group() if sentence else prompt).split()[:30])

    def fill(wanted: Any, depth: int) -> Any:
        if not isinstance(wanted, dict) or depth > 20:
            return None
        if "const" in wanted:
            return wanted["const"]
        if isinstance(wanted.get("enum"), list) and wanted["enum"]:
            return wanted["enum"][0]
        for several in ("anyOf", "oneOf", "allOf"):
            if isinstance(wanted.get(several), list) and wanted[several]:
                return fill(wanted[several][0], depth + 1)
        kind = wanted.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "string":
            longest = wanted.get("maxLength")
            return first[:longest] if isinstance(longest, int) else first
        if kind in ("integer", "number"):
            count = len(prompt.split())
            low, high = wanted.get("minimum", count), wanted.get("maximum", count)
            return max(low, min(high, count))
        if kind == "boolean":
            return True
        if kind == "array":
            least = wanted.get("minItems")
            return [fill(wanted.get("items"), depth + 1)] * (least if isinstance(least, int) and least > 1 else 1)
        if kind == "object" or "properties" in wanted:
            properties = wanted.get("properties")
            members = properties.items() if isinstance(properties, dict) else ()
            return {name: fill(each, depth + 1) for name, each in members}
        return None

    return json.dumps(fill(schema, 0), ensure_ascii=False)


def _trailing_tools(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    start = len(messages)
    while start and messages[start - 1]["role"] == "tool":
        start -= 1
    return messages[start:]


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    return next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "")


def answer(body: dict[str, Any], reply: Reply = default_reply) -> Answer:
    """Decides the whole answer to one request; raises Refusal for one that makes no sense."""
    messages = _messages(body)
    if body.get("model") == DOWN:
        raise Refusal(503, "the model is down", code="overloaded")
    limit = _token_limit(body)
    digest = f"{zlib.crc32(json.dumps(messages, sort_keys=True).encode()):08x}"
    finish, text, calls = "stop", "", _tool_calls(body, messages, digest)
    if calls:
        finish = "tool_calls"
        completion = sum(len(f"{call.name} {call.arguments}".split()) for call in calls)
    else:
        schema = _schema(body) if reply is default_reply else None
        said = _spoken(reply, messages) if schema is None else _filled(schema, _last_user_text(messages))
        text = _before_stop(said, body.get("stop"))
        pieces = tokens(text)
        if limit is not None and len(pieces) > limit:
            finish, pieces = "length", pieces[:limit]
            text = "".join(pieces)
        completion = len(text.split())
    prompt = sum(len(text_of(message).split()) for message in messages)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return Answer(f"chatcmpl-{digest}", str(body.get("model") or "echo"), text, calls, finish, usage)


def tokens(text: str) -> list[str]:
    """The words of a text with the white space before each; joined they are the text again."""
    if not text.strip():
        return [text] if text else []
    return re.findall(r"\s*\S+(?:\s+\Z)?", text)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages must be a list with at least one message", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(400, "every message is an object with a role", param=f"messages[{index}]")
    return messages


def _token_limit(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise Refusal(400, f"{name} must be a whole number of at least 1", param=name)
        return limit
    return None


def _before_stop(text: str, stop: Any) -> str:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    found = [text.find(word) for word in stops if isinstance(word, str) and word]
    return text[: min((at for at in found if at >= 0), default=len(text))]


def _spoken(reply: Reply, messages: list[dict[str, Any]]) -> str:
    try:
        text = reply(messages)
    except Exception as error:
        # the test's own function: its error must reach the test, and the only way there is the wire
        raise Refusal(500, f"reply() raised {type(error).__name__}: {error}") from error
    if not isinstance(text, str):
        raise Refusal(500, f"reply() returned {type(text).__name__}, not str")
    return text


def _tool_calls(body: dict[str, Any], messages: list[dict[str, Any]], digest: str) -> list[ToolCall]:
    """One call for each line `call <name> <json object>`, unless tool results already answer that prompt."""
    if not body.get("tools") or body.get("tool_choice") == "none" or messages[-1]["role"] == "tool":
        return []
    calls: list[ToolCall] = []
    for line in _last_user_text(messages).splitlines():
        words = line.strip().split(None, 2)
        if len(words) == 3 and words[0] == "call" and _is_object(words[2]):
            # the name is not looked up: a model that calls a tool nobody offered is worth a test
            calls.append(ToolCall(f"call_{digest}_{len(calls)}", words[1], words[2]))
    return calls[:1] if body.get("parallel_tool_calls") is False else calls


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def whole(said: Answer) -> dict[str, Any]:
    """The body of a non-streamed answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None if said.tool_calls else said.text}
    if said.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": said.finish_reason}
    return _envelope(said, "chat.completion", [choice]) | {"usage": said.usage}


def chunks(said: Answer, *, include_usage: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """The streamed answer, `(payload, is_piece)` each. A piece is a word or a fragment of a tool call; before
    each piece but the first the server pauses. `[DONE]` is not among them."""
    extra: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _envelope(said, "chat.completion.chunk", [choice]) | extra

    yield chunk({"role": "assistant", "content": None if said.tool_calls else ""}), False
    for piece in tokens(said.text):
        yield chunk({"content": piece}), True
    for index, call in enumerate(said.tool_calls):
        head = {"index": index, "id": call.id, "type": "function"}
        yield chunk({"tool_calls": [head | {"function": {"name": call.name, "arguments": ""}}]}), True
        size = math.ceil(len(call.arguments) / 3)
        for at in range(0, len(call.arguments), size):
            part = {"index": index, "function": {"arguments": call.arguments[at : at + size]}}
            yield chunk({"tool_calls": [part]}), True
    yield chunk({}, said.finish_reason), False
    if include_usage:
        yield _envelope(said, "chat.completion.chunk", []) | {"usage": said.usage}, False


def _envelope(said: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": said.id, "object": kind, "created": CREATED_UNIX_S, "model": said.model, "choices": choices}
