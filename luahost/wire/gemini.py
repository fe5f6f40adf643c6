"""The Gemini wire: a conversation becomes request bytes; `Decoder` reads the answer.

The model is named in the path, the key in a header of its own and never in the URL. What a model's family takes
is data: the first `ModelRule` whose pattern is the model's whole name counts, and a `Dialect` may bring others.

A turn goes back part by part as it came, each thoughtSignature on its own part. Gemini 3 refuses a turn whose first
call has none (a call that another provider's model made); such a call gets the value that Google documents for it.

This is the module others import. Knows no socket, no clock, no session, no origin. Sources: LLM_WIRE.md §2.3, C6;
https://ai.google.dev/gemini-api/docs/thinking, …/thought-signatures (its FAQ: history of other models).
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from luahost.wire.gemini_decoder import Decoder
from luahost.wire.gemini_frames import parse_usage
from luahost.wire.messages import (
    Block,
    Conversation,
    ImageBlock,
    Message,
    Options,
    Request,
    State,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    text_of,
    tool_uses,
)

__all__ = [
    "GEMINI",
    "Decoder",
    "Dialect",
    "ModelRule",
    "auth_headers",
    "dropped_options",
    "encode",
    "models_path",
    "parse_usage",
    "path",
]

models_path = "/v1beta/models"

UNSIGNED = "skip_thought_signature_validator"

_encode_json = msgspec.json.Encoder().encode


class ModelRule(msgspec.Struct, frozen=True, kw_only=True):
    """What the models whose whole name matches `pattern` take. `thinking`: what it is told in, if at all."""

    pattern: str
    thinking: Literal["budget", "level"] | None = None
    budgets: tuple[int, int] = (0, 0)  # least and most tokens
    levels: tuple[str, ...] = ()  # weakest first
    may_not_think: bool = False  # thinking can be switched off
    signed_calls: bool = False  # a turn's first call without a signature is a 400


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    rules: tuple[ModelRule, ...] = ()


_LEVELS = ("minimal", "low", "medium", "high")
GEMINI = Dialect(
    rules=(
        ModelRule(pattern=r"gemini-(?:1|2\.0).*|gemini-2\.5-.*(?:image|tts|audio).*"),
        ModelRule(pattern=r"gemini-2\.5-pro.*", thinking="budget", budgets=(128, 32768)),
        ModelRule(pattern=r"gemini-2\.5-flash-lite.*", thinking="budget", budgets=(512, 24576), may_not_think=True),
        ModelRule(pattern=r"gemini-2\.5-.*", thinking="budget", budgets=(1, 24576), may_not_think=True),
        ModelRule(pattern=r"gemini-3-pro.*", thinking="level", levels=("low", "high"), signed_calls=True),
        ModelRule(pattern=r"gemini-.*pro.*", thinking="level", levels=_LEVELS[1:], signed_calls=True),
        ModelRule(pattern=r"gemini-.*", thinking="level", levels=_LEVELS, signed_calls=True),
    )
)
# Tokens of each word of messages.THINKING; xhigh is as much as the model takes.
_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 10000, "high": 24576}


def path(model: str, *, stream: bool) -> str:
    """Whatever the model is called, the path has no segment and no query of its making."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"{models_path}/{quote(model.removeprefix('models/'), safe='')}:{method}"


def auth_headers(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key}


def dropped_options(options: Options, *, dialect: Dialect | None = None) -> list[str]:
    """The options that are set and are not sent, or not as they were said; for a warning."""
    _, exactly = _thinking(options, _rule(options.model, dialect))
    dropped = {
        "thinking": not exactly,
        "parallel_tool_calls": options.parallel_tool_calls is False,
        "cache": options.cache is not None,  # prefixes are cached unasked; breakpoints there are none
        "num_ctx": options.num_ctx is not None,
        "keep_alive": options.keep_alive is not None,
    }
    return [name for name, is_dropped in dropped.items() if is_dropped]


def encode(conversation: Conversation, options: Options, *, dialect: Dialect | None = None) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    rule = _rule(options.model, dialect)
    body: dict[str, Any] = {}
    system = [] if conversation.system is None else [conversation.system]
    system += [text_of(message) for message in conversation.messages if message.role == "system"]
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    body["contents"] = _contents(conversation.messages, rule)
    if conversation.tools:
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in conversation.tools]}]
        if options.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(options.tool_choice)}
    said: dict[str, Any] = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_tokens,
        "seed": options.seed,
        "stopSequences": options.stop or None,
        "responseMimeType": None if options.response_schema is None else "application/json",
        "responseJsonSchema": options.response_schema,
        "thinkingConfig": _thinking(options, rule)[0],
    }
    config = {name: value for name, value in said.items() if value is not None}
    if config:
        body["generationConfig"] = config
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if options.stream else "application/json",
    }
    return Request("POST", path(options.model, stream=options.stream), headers, _encode_json(body))


def _rule(model: str, dialect: Dialect | None) -> ModelRule:
    model = model.removeprefix("models/")
    matching = (rule for rule in (dialect or GEMINI).rules if re.fullmatch(rule.pattern, model))
    return next(matching, ModelRule(pattern=""))


# ---- thinking


def _thinking(options: Options, rule: ModelRule) -> tuple[dict[str, Any] | None, bool]:
    """The thinkingConfig, and whether it says exactly what was asked for. Budget and level together are a 400."""
    asked = options.thinking
    if asked is None:
        return None, True
    off = asked in ("off", 0)
    if rule.thinking is None:
        return None, off
    if off and rule.may_not_think:
        return {"thinkingBudget": 0}, True
    shown = {} if off else {"includeThoughts": True}
    if rule.thinking == "budget":
        least, most = rule.budgets
        wanted = asked if isinstance(asked, int) else least if off else _BUDGETS.get(asked, most)
        sent = min(max(wanted, least), most)
        return {**shown, "thinkingBudget": sent}, not off and (sent == wanted or isinstance(asked, str))
    level = _level(asked)
    places = {name: _LEVELS.index(name) for name in rule.levels}
    enough = (name for name, place in places.items() if place >= _LEVELS.index(level))
    sent_level = next(enough, rule.levels[-1])
    exactly = not off and isinstance(asked, str) and sent_level == level
    return {**shown, "thinkingLevel": sent_level.upper()}, exactly


def _level(asked: str | int) -> str:
    if isinstance(asked, int):
        return next((level for level, tokens in _BUDGETS.items() if asked <= tokens), "high")
    return {"off": "minimal", "xhigh": "high"}.get(asked, asked)


# ---- turns


class _Call(msgspec.Struct, frozen=True):
    """A call some turn made, for its result: which one it was, and the server's own id of it."""

    place: int
    name: str
    id: str | None


def _contents(messages: list[Message], rule: ModelRule) -> list[dict[str, Any]]:
    """Turns of one role in a row are one; the first is the user's, as a call may only follow a user's turn."""
    contents: list[dict[str, Any]] = []
    calls: dict[str, _Call] = {}
    for message in messages:
        if message.role == "system":
            continue
        for use in tool_uses(message):
            calls[use.id] = _Call(len(calls), use.name, _own(use.state).get("id"))
        parts = _parts(message, calls)
        if not parts:  # a turn without parts is a 400
            continue
        role = "model" if message.role == "assistant" else "user"
        if not contents and role == "model":
            contents.append({"role": "user", "parts": [{"text": " "}]})
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    if rule.signed_calls:
        for content in contents:
            first = next((part for part in content["parts"] if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", UNSIGNED)
    return contents


def _parts(message: Message, calls: dict[str, _Call]) -> list[dict[str, Any]]:
    """Results first and in the order of their calls, for the server pairs those without an id by order."""
    if isinstance(message.content, str):
        return [{"text": message.content}] if message.content or message.role == "user" else []
    results = [block for block in message.content if isinstance(block, ToolResultBlock)]
    results.sort(key=lambda block: calls[block.tool_use_id].place if block.tool_use_id in calls else len(calls))
    parts = [_result(block, calls.get(block.tool_use_id)) for block in results]
    return parts + [part for block in message.content if (part := _part(block)) is not None]


def _result(block: ToolResultBlock, call: _Call | None) -> dict[str, Any]:
    if call is None:  # nobody's result; a functionResponse without its call would be a 400
        return {"text": block.content}
    response: dict[str, Any] = {} if call.id is None else {"id": call.id}
    response |= {"name": call.name, "response": {"error" if block.is_error else "output": block.content}}
    return {"functionResponse": response}


def _part(block: Block) -> dict[str, Any] | None:
    match block:
        case TextBlock(text, state):
            signature = _signature(state)
            return {"text": text, **signature} if text or signature else None
        case ThinkingBlock(text, state):
            signature = _signature(state)
            return {"text": text, "thought": True, **signature} if signature else None
        case ImageBlock(media_type, _, str(url)):
            return {"fileData": {"mimeType": media_type, "fileUri": url}}
        case ImageBlock(media_type, data):
            return {"inlineData": {"mimeType": media_type, "data": b64encode(data).decode()}}
        case ToolUseBlock(_, name, arguments, state):
            own = _own(state)
            call = {"id": own["id"]} if "id" in own else {}
            return {"functionCall": {**call, "name": name, "args": arguments}, **_signature(state)}
        case _:
            return None


def _own(state: State | None) -> State:
    """What this wire wrote; another wire's state is left out."""
    return state if state is not None and state.get("wire") == "gemini" else {}


def _signature(state: State | None) -> dict[str, Any]:
    own = _own(state)
    return {"thoughtSignature": own["thoughtSignature"]} if "thoughtSignature" in own else {}


# ---- tools


def _tool(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:  # `parameters` would take a part of JSON Schema only
        declared["parametersJsonSchema"] = tool.parameters
    return declared


def _tool_choice(choice: str) -> dict[str, Any]:
    words = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    return {"mode": words[choice]} if choice in words else {"mode": "ANY", "allowedFunctionNames": [choice]}
