"""The Gemini wire: a conversation becomes request bytes; `Decoder` reads the answer.

The model is named in the path, the key in a header of its own and never in the URL. What a model's family takes
is data (models.toml).

A turn goes back part by part as it came, each thoughtSignature on its own part. Gemini 3 refuses a turn whose first
call has none (a call that another provider's model made); such a call gets the value that Google documents for it.

This is the module others import. Knows no socket, no clock, no session, no origin. Sources: LLM_WIRE.md §2.3, C6;
https://ai.google.dev/gemini-api/docs/thinking, …/thought-signatures (its FAQ: history of other models).
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote

import msgspec

from luahost.wire import models
from luahost.wire.gemini_decoder import Decoder
from luahost.wire.gemini_frames import parse_usage
from luahost.wire.messages import (
    Block,
    Conversation,
    Dropped,
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
from luahost.wire.requests import NO_MARKS, ONLY_GATEWAYS, ONLY_OLLAMA, no_place, post

__all__ = [
    "GEMINI",
    "Decoder",
    "Dialect",
    "auth_headers",
    "encode",
    "models_path",
    "parse_usage",
    "path",
    "takes_schema",
]

models_path = "/v1beta/models"

UNSIGNED = "skip_thought_signature_validator"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """`facts`: what the models take, None for the table that ships."""

    facts: models.Table[models.Gemini] | None = None


GEMINI = Dialect()

_LEVELS = ("minimal", "low", "medium", "high")


def path(model: str, *, stream: bool) -> str:
    """Whatever the model is called, the path has no segment and no query of its making."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"{models_path}/{quote(model.removeprefix('models/'), safe='')}:{method}"


def auth_headers(key: str) -> dict[str, str]:
    return {"x-goog-api-key": key}


def takes_schema(conversation: Conversation, options: Options, *, dialect: Dialect = GEMINI) -> bool:
    """Whether the schema goes as one, rather than as a tool's."""
    schema = _facts(options.model, dialect).schema
    return schema == "always" or (schema == "without_tools" and not conversation.tools)


def encode(conversation: Conversation, options: Options, *, dialect: Dialect = GEMINI) -> Request:
    """Same input, same bytes: a prompt cache sees the same prefix again."""
    facts = _facts(options.model, dialect)
    config, dropped = _config(options, facts)
    body: dict[str, Any] = {}
    system = [] if conversation.system is None else [conversation.system]
    system += [text_of(message) for message in conversation.messages if message.role == "system"]
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    body["contents"] = _contents(conversation.messages, facts)
    if conversation.tools:
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in conversation.tools]}]
        if options.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(options.tool_choice)}
    if config:
        body["generationConfig"] = config
    return post(path(options.model, stream=options.stream), body, options, dropped)


def _facts(model: str, dialect: Dialect) -> models.Gemini:
    return (dialect.facts or models.SHIPPED.gemini).facts(model.removeprefix("models/"))


def _config(options: Options, facts: models.Gemini) -> tuple[dict[str, Any], list[Dropped]]:
    """The generationConfig, and what of the options is not in it."""
    thinking, exactly = _thinking(options, facts)
    said: dict[str, Any] = {
        "temperature": options.temperature,
        "topP": options.top_p,
        "maxOutputTokens": options.max_tokens,
        "seed": options.seed,
        "stopSequences": options.stop or None,
        "responseMimeType": None if options.response_schema is None else "application/json",
        "responseJsonSchema": options.response_schema,
        "thinkingConfig": thinking,
        "responseModalities": ["TEXT", "IMAGE"] if facts.draws else None,
    }
    dropped = []
    if not exactly:
        sent = {name: value for name, value in (thinking or {}).items() if name != "includeThoughts"}
        how = "".join(f"was sent as {name} = {value}" for name, value in sent.items())
        asked = "thinking" if options.effort is None else "effort"
        dropped.append(Dropped(asked, how) if how else Dropped(asked))
    if options.effort is not None and options.thinking is not None:
        dropped.append(Dropped("thinking", "gives way to effort on this wire; it was not sent"))
    if options.parallel_tool_calls is False:
        dropped.append(Dropped("parallel_tool_calls", "cannot be switched off on this wire; it was not sent"))
    dropped += no_place(
        options, cache=NO_MARKS, num_ctx=ONLY_OLLAMA, keep_alive=ONLY_OLLAMA, provider_order=ONLY_GATEWAYS
    )
    return {name: value for name, value in said.items() if value is not None}, dropped


# ── thinking ────────────────────────────────────────────────────────────────────────────────────────────


def _thinking(options: Options, facts: models.Gemini) -> tuple[dict[str, Any] | None, bool]:
    """The thinkingConfig, and whether it says exactly what was asked for. Budget and level together are a 400."""
    asked = options.thinking if options.effort is None else options.effort
    asked = {"none": "off", "max": "xhigh"}.get(asked, asked) if isinstance(asked, str) else asked
    if asked is None:
        return None, True
    off = asked in ("off", 0)
    if facts.thinking == "none":
        return None, off
    if off and facts.may_not_think:
        return {"thinkingBudget": 0}, True
    shown = {} if off else {"includeThoughts": True}
    if facts.thinking == "budget":
        least, most = facts.budgets
        wanted = asked if isinstance(asked, int) else least if off else BUDGETS.get(asked, most)
        sent = min(max(wanted, least), most)
        return {**shown, "thinkingBudget": sent}, not off and (sent == wanted or isinstance(asked, str))
    level = {"off": "minimal", "xhigh": "high"}.get(asked, asked) if isinstance(asked, str) else _level(asked)
    places = {name: _LEVELS.index(name) for name in facts.levels}
    enough = (name for name, place in places.items() if place >= _LEVELS.index(level))
    sent_level = next(enough, facts.levels[-1])
    exactly = not off and isinstance(asked, str) and sent_level == level
    return {**shown, "thinkingLevel": sent_level.upper()}, exactly


# Tokens of each level; xhigh is as much as the model takes.
BUDGETS = {name: min(tokens, 24_576) for name, tokens in models.LEVEL_TOKENS.items() if name != "xhigh"}


def _level(tokens: int) -> str:
    return next((level for level, worth in BUDGETS.items() if tokens <= worth), "high")


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────


class _Call(msgspec.Struct, frozen=True):
    """A call some turn made, for its result: which one it was, and the server's own id of it."""

    place: int
    name: str
    id: str | None


def _contents(messages: list[Message], facts: models.Gemini) -> list[dict[str, Any]]:
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
    if facts.signed_calls:
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
        case ImageBlock(media_type, _, str(url), state):
            return {"fileData": {"mimeType": media_type, "fileUri": url}, **_signature(state)}
        case ImageBlock(media_type, data, _, state):
            inline = {"mimeType": media_type, "data": b64encode(data).decode()}
            return {"inlineData": inline, **_signature(state)}
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


# ── tools ───────────────────────────────────────────────────────────────────────────────────────────────


def _tool(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:  # `parameters` would take a part of JSON Schema only
        declared["parametersJsonSchema"] = tool.parameters
    return declared


def _tool_choice(choice: str) -> dict[str, Any]:
    words = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    return {"mode": words[choice]} if choice in words else {"mode": "ANY", "allowedFunctionNames": [choice]}
