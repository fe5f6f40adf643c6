"""What a call may use, before it is made, while it runs and after: the numbers that the ledgers get.

    before   the prompt's size in bytes, a quarter of it; the answer's limit; both at the model's price
    while    what the server has counted so far, or what its bytes must at least be; over a cap, the call is cut
    after    as the server counted, or the same estimate, marked as one

A cut must not hit a server that keeps the limit, so while a stream runs a token counts as if it were as long as
tokens get. Sources: LLM_WIRE.md U14, U19, N2, N11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from luahost.gate.ledger import Reservation, Shortage
from luahost.ops.llm import prices
from luahost.ops.llm.options import LlmArgs
from luahost.ops.llm.providers import Provider
from luahost.ops.sessions.session import Session
from luahost.ops.sessions.turns import IMAGE_TOKENS
from luahost.ops.world import Share
from luahost.wire.events import Usage
from luahost.wire.messages import Block, ImageBlock, Message, TextBlock, ThinkingBlock, ToolResultBlock

BYTES_PER_TOKEN = 4
"""Of ordinary text in the languages and programs that models see most."""

LONG_TOKEN_BYTES = 8
"""What a token of ordinary text hardly ever is longer than, on average."""

RESERVE_TOKENS = 4096
"""What a call under a budget may answer when the script names no max_tokens."""

_ANSWER = ("tokens", "output_tokens", "cost_usd")
_METERED = ("tokens", "input_tokens", "output_tokens", "cost_usd")


def tokens_of(size: int) -> int:
    """The tokens of a text of so many bytes, about."""
    return -(-size // BYTES_PER_TOKEN)


# ── before ──────────────────────────────────────────────────────────────────────────────────────────────


def prompt_tokens(session: Session | None, args: LlmArgs) -> int:
    """An estimate of all that would be sent: system prompt, history, tools, this turn."""
    opts = args.opts
    system = opts.system_prompt if session is None else opts.system_prompt or session.system
    size = _length(args.prompt or "") + _length(system or "")
    size += sum(_length(each.content) for each in opts.tool_results or ())
    for data in (opts.tools, opts.response_schema, opts.extra_body):
        if data:
            size += len(msgspec.json.encode(data))
    pictures = len(opts.images or ())
    for message in () if session is None else session.messages:
        if isinstance(message.content, str):
            size += _length(message.content)
        else:
            size += sum(_block_bytes(block) for block in message.content)
            pictures += sum(isinstance(block, ImageBlock) for block in message.content)
    return tokens_of(size) + pictures * IMAGE_TOKENS


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _block_bytes(block: Block) -> int:
    match block:
        case TextBlock() | ThinkingBlock():
            return _length(block.text)
        case ToolResultBlock():
            return _length(block.content)
        case ImageBlock():
            return 0
        case _:
            return len(msgspec.json.encode(block.input)) + len(block.name)


def answer_limit(share: Share, provider: Provider, model: str, asked: int, wanted: int | None) -> int | None:
    """max_tokens of the request: the script's own, or one that fits where a budget has to hold."""
    if wanted is not None or "llm" not in share.grants:
        return wanted
    limits: list[int] = share.grants["llm"].said("max_tokens_per_call")
    for grant in share.grants["llm"].chain():
        for name in _ANSWER:
            left = grant.ledger.left(name)
            if left is None:
                continue
            limits.append(RESERVE_TOKENS)
            if name == "cost_usd":
                limits.append(_affordable(provider, model, asked, left))
            else:
                limits.append(left - asked if name == "tokens" else left)
    return max(1, min(limits)) if limits else None


def _affordable(provider: Provider, model: str, asked: int, microusd: int) -> int:
    """The tokens of an answer that so much pays for, once the prompt is paid; at most RESERVE_TOKENS."""
    prompt = prices.microusd(provider, model, Usage(input=asked, output=0))
    both = prices.microusd(provider, model, Usage(input=asked, output=RESERVE_TOKENS))
    if prompt is None or both is None or both <= prompt:
        return RESERVE_TOKENS
    return min(RESERVE_TOKENS, (microusd - prompt) * RESERVE_TOKENS // (both - prompt))


def caps_cost(share: Share) -> bool:
    """Whether a price has to be known before the call."""
    grant = share.grants.get("llm")
    return grant is not None and any("cost_usd" in each.ledger.caps for each in grant.chain())


# ── while and after ─────────────────────────────────────────────────────────────────────────────────────


class Meter:
    """One call's use as it grows. `over` says which cap it has run over, `settle` writes down what it came to."""

    def __init__(self, reservation: Reservation, provider: Provider, model: str, asked: int) -> None:
        self._reservation, self._provider, self._model, self._asked = reservation, provider, model, asked
        self._watched = reservation.caps(*_METERED)
        self._bytes = 0

    def add(self, size: int) -> Shortage | None:
        """So many more bytes of answer came."""
        self._bytes += size
        if not self._watched:
            return None
        return self._over(Usage(input=0, output=self._bytes // LONG_TOKEN_BYTES))

    def said(self, usage: Usage) -> Shortage | None:
        """The server counted: that is believed where it is more than what came."""
        if not self._watched:
            return None
        output = max(usage.output or 0, self._bytes // LONG_TOKEN_BYTES)
        return self._over(msgspec.structs.replace(usage, output=output))

    def _over(self, usage: Usage) -> Shortage | None:
        return self._reservation.exceeded(self._amounts(usage))

    def _amounts(self, usage: Usage) -> dict[str, int]:
        input, output = usage.input or 0, usage.output or 0
        amounts = {
            "tokens": usage.total or input + output,
            "input_tokens": input,
            "output_tokens": output,
        }
        if self._reservation.caps("cost_usd") or usage.cost_usd is not None:
            amounts["cost_usd"] = prices.microusd(self._provider, self._model, usage) or 0
        return amounts

    def _filled(self, usage: Usage) -> Usage:
        """The half that a server left out, by estimate: a ledger counts both."""
        return msgspec.structs.replace(
            usage,
            input=self._asked if usage.input is None else usage.input,
            output=tokens_of(self._bytes) if usage.output is None else usage.output,
        )

    def settle(self, said: Usage | None, *, answered: bool) -> dict[str, Any] | None:
        """Settles, and says what it was as scripts see it; None when nothing was used as far as anyone knows."""
        estimated = said is None or (said.input is None and said.output is None and said.total is None)
        if not estimated:
            assert said is not None
            usage = said
        elif answered:
            output = tokens_of(self._bytes)
            usage = Usage(input=self._asked, output=output, total=self._asked + output)
        else:
            self._reservation.settle()
            return None
        cost = prices.cost_usd(self._provider, self._model, usage)
        amounts = self._amounts(self._filled(usage))
        if cost is not None:
            amounts["cost_usd"] = prices.microusd(self._provider, self._model, usage) or 0
        self._reservation.settle(**amounts)
        seen: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(usage, cost_usd=cost))
        if estimated:
            seen["estimated"] = True
        return seen


def tool_turns(session: Session | None, answering: bool) -> int:
    """Rounds of tool results in a row, this call's with it, since the user last spoke without any."""
    if session is None or not answering:
        return 0
    turns = 1
    for message in reversed(session.messages):
        if message.role == "user":
            if not _has_results(message):
                break
            turns += 1
    return turns


def _has_results(message: Message) -> bool:
    blocks: Iterable[Block] = () if isinstance(message.content, str) else message.content
    return any(isinstance(block, ToolResultBlock) for block in blocks)
