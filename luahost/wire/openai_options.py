"""What of the options is sent on the OpenAI wire to one model of one server, and in which words.

The options are held against the model's facts and the server's accent; what is left out, or sent in another word,
is named. Knows no conversation and no model's name. Sources: LLM_WIRE.md W4 to W7, W31, W36, C3.
"""

from __future__ import annotations

import re
from hashlib import blake2s
from typing import Any

from luahost.wire import schemas
from luahost.wire.messages import Dropped, Options
from luahost.wire.models import Gpt, level_of, word_for
from luahost.wire.openai_dialects import Dialect
from luahost.wire.requests import NO_MARKS, ONLY_GATEWAYS, ONLY_OLLAMA, no_place

SCHEMA_NAME_CHARS = 64
NOT_ON_SERVER = "is not known to this server; it was not sent"

_Said = tuple[dict[str, Any], list[Dropped]]


def decide(options: Options, facts: Gpt, dialect: Dialect) -> _Said:
    """The members of the body that the options make, and what is not among them as it was said."""
    fields, dropped = thinking(options, facts, dialect)
    sampled, refused = sampling(options, facts, fields.get("reasoning_effort"))
    fields |= sampled
    dropped += refused
    said: dict[str, tuple[bool, str, Any]] = {  # option -> whether the model takes it, the wire's name, the value
        "max_tokens": (True, facts.max_tokens_field, options.max_tokens),
        "seed": (facts.seed, dialect.seed_field, options.seed),
        "stop": (facts.stop, "stop", options.stop or None),
    }
    for name, (taken, field, value) in said.items():
        if value is None:
            continue
        if taken and name not in dialect.lacks:
            fields[field] = value
        else:
            dropped.append(Dropped(name, NOT_ON_SERVER) if taken else Dropped(name))
    if options.response_schema is not None:
        fields["response_format"] = {"type": "json_schema", "json_schema": json_schema(options.response_schema)}
    if facts.draws and dialect.gateway:
        fields["modalities"] = ["image", "text"]
    if options.provider_order and dialect.gateway:
        # One name alone is an order, not a wish.
        order = options.provider_order
        fields["provider"] = {"order": order, "allow_fallbacks": len(order) > 1}
    elif options.provider_order:
        dropped.append(Dropped("provider_order", ONLY_GATEWAYS))
    if not (dialect.gateway and facts.cache_marks):
        dropped += no_place(options, cache=NO_MARKS)
    return fields, dropped + no_place(options, num_ctx=ONLY_OLLAMA, keep_alive=ONLY_OLLAMA)


def sampling(options: Options, facts: Gpt, effort: str | None) -> _Said:
    """temperature and top_p, where the model takes them beside this effort."""
    given = {"temperature": options.temperature, "top_p": options.top_p}
    given = {name: value for name, value in given.items() if value is not None}
    if facts.sampling == "both" or (facts.sampling == "unthinking" and effort == "none"):
        return dict(given), []
    how = 'is taken only beside thinking = "off"; it was not sent'
    return {}, [Dropped(name, how) if facts.sampling == "unthinking" else Dropped(name) for name in given]


def thinking(options: Options, facts: Gpt, dialect: Dialect) -> _Said:
    asked, name = (options.thinking, "thinking") if options.effort is None else (options.effort, "effort")
    if asked is None:
        return {}, []
    dropped = []
    if options.effort is not None and options.thinking is not None:
        dropped.append(Dropped("thinking", "gives way to effort on this wire; it was not sent"))
    off = asked in ("off", "none", 0)
    if dialect.thinking == "reasoning" and isinstance(asked, int) and asked > 0:
        return {"reasoning": {"max_tokens": asked}}, dropped
    wanted = "none" if off else level_of(asked) if isinstance(asked, int) else asked
    word = word_for(wanted, facts.efforts)
    if word is None:  # it never reasons, and needs not be told; or it cannot be told
        if not (off and not facts.efforts):
            dropped.append(Dropped(name))
        return {}, dropped
    if word != wanted or (isinstance(asked, int) and not off):
        dropped.append(Dropped(name, f"was sent as {word!r}"))
    on = word != "none"
    match dialect.thinking:
        case "reasoning":
            return {"reasoning": {"effort": word}}, dropped
        case "switch":
            return {"thinking": {"type": "enabled" if on else "disabled"}}, dropped
        case "template":  # each model's template looks at its own
            told = {"enable_thinking": on} | ({"reasoning_effort": word} if on else {})
            return {"chat_template_kwargs": told}, dropped
        case _:
            return {"reasoning_effort": word}, dropped


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Strict where the schema fits the strict rules as it stands; it is never bent to."""
    return {"name": schema_name(schema), "schema": schema, "strict": schemas.is_strict(schema)}


def schema_name(schema: dict[str, Any]) -> str:
    """Its title in the letters the wire takes, or a word that does for any."""
    title = schema.get("title")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", title).strip("_") if isinstance(title, str) else ""
    return name[:SCHEMA_NAME_CHARS] or "answer"


_NINE = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def call_id(id: str, dialect: Dialect, *, most: int = 40) -> str:
    """A call's id as this server takes it (C7): the same id always becomes the same."""
    if dialect.call_ids == "mistral":
        return id if _NINE.fullmatch(id) else _digest(id, 9)
    return id if 0 < len(id) <= most and id.isprintable() else "call_" + _digest(id, 22)


def _digest(text: str, letters: int) -> str:
    number = int.from_bytes(blake2s(text.encode("utf-8", "surrogatepass"), digest_size=32).digest())
    found = ""
    for _ in range(letters):
        number, place = divmod(number, len(_LETTERS))
        found += _LETTERS[place]
    return found
