"""What of the options is sent to a model of the Anthropic wire, and in which words.

The idea: `decide` holds the options against the model's facts once, and `encode` writes the outcome. Nothing is
left out without being named in `dropped`.

Knows no conversation and no model's name. Sources: LLM_WIRE.md W17 to W19, O14, I14, C3.
"""

from __future__ import annotations

from typing import Any

import msgspec

from luahost.wire import schemas
from luahost.wire.messages import Dropped, Options
from luahost.wire.models import Claude, word_for
from luahost.wire.requests import ONLY_GATEWAYS, ONLY_OLLAMA, no_place

DEFAULT_MAX_TOKENS = 8192  # the wire demands a number
MIN_BUDGET = 1024  # tokens of thinking; fewer are a 400
NO_SEED = "has no place on this wire; it was not sent"


class Decided(msgspec.Struct):
    """What of the options is sent to this model."""

    max_tokens: int
    tool_choice: str | None
    dropped: list[Dropped]
    fields: dict[str, Any] = {}


def decide(options: Options, facts: Claude) -> Decided:
    given = options.max_tokens
    decided = Decided(
        max_tokens=_at_most(facts.max_output, DEFAULT_MAX_TOKENS) if given is None else given,
        tool_choice=options.tool_choice,
        dropped=no_place(
            options, seed=NO_SEED, num_ctx=ONLY_OLLAMA, keep_alive=ONLY_OLLAMA, provider_order=ONLY_GATEWAYS
        ),
    )
    fields = decided.fields
    output: dict[str, Any] = {}
    forced = options.tool_choice not in (None, "auto", "none")
    if forced and not facts.forced_tools:
        decided.tool_choice = None
        decided.dropped.append(Dropped("tool_choice", "cannot be forced on this model; it was not sent"))
        forced = False
    if options.thinking is not None:
        thinking, effort = _thinking(options.thinking, options, facts, forced, decided)
        if thinking:
            fields["thinking"] = thinking
        if effort:
            output["effort"] = effort
    if options.effort is not None:
        effort = word_for(options.effort, facts.efforts)
        if effort is not None:
            output["effort"] = effort
        if effort != options.effort:
            decided.dropped.append(Dropped("effort", f"was sent as {effort!r}") if effort else Dropped("effort"))
    if options.response_schema is not None:
        output["format"] = {"type": "json_schema", "schema": schemas.closed(options.response_schema)}
    thinks = fields.get("thinking", {}).get("type") in ("enabled", "adaptive")
    free = facts.sampling != "none" and not thinks  # thinking fixes both
    for name, value in (("temperature", options.temperature), ("top_p", options.top_p)):
        if value is None:
            continue
        if free and not (facts.sampling == "one" and "temperature" in fields):
            fields[name] = value
        else:
            decided.dropped.append(
                Dropped(name, "is not taken beside thinking; it was not sent") if thinks else Dropped(name)
            )
    if output:
        fields["output_config"] = output
    return decided


def _thinking(
    wish: str | int, options: Options, facts: Claude, forced: bool, decided: Decided
) -> tuple[dict[str, Any] | None, str | None]:
    """`thinking` and `effort` as they are written; in `decided` what follows for max_tokens."""
    if wish == "off" or (isinstance(wish, int) and wish <= 0):
        if facts.off == "refused":
            decided.dropped.append(Dropped("thinking", "cannot be switched off on this model; it was not sent"))
        return ({"type": facts.off} if facts.off in ("disabled", "between_tools") else None), None
    budget = wish if isinstance(wish, int) else facts.budgets.get(wish)
    # Beside a forced tool thinking is a 400; the tool is the harder wish.
    if facts.thinking == "none" or budget is None or forced:
        decided.dropped.append(
            Dropped("thinking", "cannot stand beside a forced tool; it was not sent")
            if forced
            else Dropped("thinking")
        )
        return None, None
    if options.max_tokens is None:  # its own room, and the usual one for the answer behind it
        decided.max_tokens = _at_most(facts.max_output, budget + DEFAULT_MAX_TOKENS)
    if facts.thinking == "adaptive" or (facts.thinking == "either" and isinstance(wish, str)):
        level = wish if isinstance(wish, str) else _level(wish, facts)
        shown = {"display": "summarized"} if facts.show_thinking else {}
        return {"type": "adaptive"} | shown, word_for(level, facts.efforts)
    # A given max_tokens is what the caller pays for, so the budget gives way and not it (unlike I14).
    room = decided.max_tokens - MIN_BUDGET
    if room <= 0:
        decided.dropped.append(Dropped("thinking", f"needs max_tokens above {MIN_BUDGET}; it was not sent"))
        return None, None
    sent = max(MIN_BUDGET, min(budget, room))
    if sent != budget and isinstance(wish, int):
        decided.dropped.append(Dropped("thinking", f"was sent as {sent} tokens"))
    return {"type": "enabled", "budget_tokens": sent}, None


def _level(budget: int, facts: Claude) -> str:
    """The level whose budget this is, or the next lower one; the lowest if there is none."""
    by_size = sorted(facts.budgets.items(), key=lambda item: item[1])
    return next((name for name, tokens in reversed(by_size) if tokens <= budget), by_size[0][0])


def _at_most(limit: int | None, tokens: int) -> int:
    return tokens if limit is None else min(limit, tokens)


def tool_choice(choice: str | None, parallel: bool | None) -> dict[str, Any] | None:
    if choice == "none":
        return {"type": "none"}
    written: dict[str, Any] = {"type": {None: "auto", "auto": "auto", "required": "any"}.get(choice, "tool")}
    if written["type"] == "tool":
        written["name"] = choice
    if parallel is False:
        written["disable_parallel_tool_use"] = True
    return written if choice is not None or parallel is False else None
