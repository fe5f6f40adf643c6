"""What may be done to a list of turns and leave it a conversation: mend it, measure it, cut it.

Pure. A *turn* begins with a user's message that carries no tool results and goes to the next such message: the
tool rounds belong to the turn whose prompt began them. Sources: LLM_WIRE.md U9, W20, C6.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec

from luahost.wire.messages import (
    Block,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    tool_uses,
)

IMAGE_TOKENS = 1600
"""What a picture is taken to be, whatever its bytes: one of the usual size, by those who say what they count."""
PORTION_BYTES, PORTION_NODE = 1 << 20, 512
"""Of what is dealt with in one part, and what each message and block counts in it beside its text."""
NODE_BYTES = 1024
"""What a message, a block, a table or item in a call's arguments counts beside its text: more than it takes in
memory, since a session of very many takes time."""

BOUND = ("anthropic",)
"""Wires whose reasoning is bound to all that stands before it (W20): it goes when something before it goes."""

_SAID: dict[str, tuple[type, ...]] = {
    "user": (TextBlock, ImageBlock),
    "assistant": (TextBlock, ImageBlock, ThinkingBlock, ToolUseBlock),
    "system": (TextBlock,),
}

canonical = msgspec.json.Encoder().encode
"""A message as the bytes that dumps and prefix hashes are made of."""


# ── mending ─────────────────────────────────────────────────────────────────────────────────────────────


def mended(messages: list[Message]) -> list[Message]:
    """The same turns with every tool call answered and every tool result asked for; servers refuse both.

    A call without a result gets an error result (not in the last turn, which may still be answered). A result is
    moved to the message behind its call, and dropped where there is none or a second one. Calls of one message
    with one id get their own. No text is lost or made up; a sound history comes back as it is, message by message.
    """
    fixed: list[Message] = []
    waiting: dict[str, list[str]] = {}  # id in the results → the calls of the message before, in order
    for place, message in enumerate(messages):
        results: list[Block] = []
        if waiting:
            results, waiting = _results(waiting, messages, place), {}
            if message.role != "user":
                fixed.append(Message("user", results))
                results = []
        content = message.content
        if isinstance(content, str):
            if results and content:
                results.append(TextBlock(content))
            fixed.append(Message("user", results) if results else message)
            continue
        blocks = results + [block for block in content if isinstance(block, _SAID[message.role])]
        if message.role == "assistant":
            blocks, waiting = _calls(blocks)
        if blocks == content:
            fixed.append(message)
        elif blocks:
            fixed.append(Message(message.role, blocks))
    return fixed


def _results(waiting: dict[str, list[str]], messages: list[Message], place: int) -> list[Block]:
    """One result for each waiting call, from the users' messages before the model speaks again."""
    found: list[Block] = []
    for message in messages[place:]:
        if message.role != "user":
            break
        for block in () if isinstance(message.content, str) else message.content:
            if isinstance(block, ToolResultBlock) and waiting.get(block.tool_use_id):
                id = waiting[block.tool_use_id].pop(0)
                found.append(
                    block if id == block.tool_use_id else ToolResultBlock(id, block.content, block.is_error)
                )
        if not any(waiting.values()):
            break
    return found + [lost(id) for ids in waiting.values() for id in ids]


def _calls(blocks: list[Block]) -> tuple[list[Block], dict[str, list[str]]]:
    """The blocks with an id of its own for each call, and the calls by the id their results will name."""
    waiting: dict[str, list[str]] = {}
    for block in blocks:
        if isinstance(block, ToolUseBlock):
            waiting.setdefault(block.id, []).append(block.id)
    if all(len(ids) == 1 for ids in waiting.values()):
        return blocks, waiting
    taken, seen = set(waiting), set()
    named: list[Block] = []
    for block in blocks:
        if isinstance(block, ToolUseBlock):
            if block.id in seen:
                number = next(n for n in range(2, len(blocks) + 2) if f"{block.id}_{n}" not in taken)
                id = f"{block.id}_{number}"
                taken.add(id)
                ids = waiting[block.id]
                ids[ids.index(block.id, 1)] = id
                named.append(msgspec.structs.replace(block, id=id))
                continue
            seen.add(block.id)
        named.append(block)
    return named, waiting


def lost(id: str) -> ToolResultBlock:
    """The result of a call that has none."""
    return ToolResultBlock(id, "no result: the call was never answered", True)


# ── measuring ───────────────────────────────────────────────────────────────────────────────────────────


class Tally(msgspec.Struct, frozen=True):
    """The size of some messages: bytes of their JSON, about what a model reads of it, turns that begin there."""

    bytes: int = 0
    tokens: int = 0
    turns: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.bytes + other.bytes, self.tokens + other.tokens, self.turns + other.turns)


def portion(messages: list[Message], first: int) -> list[Message]:
    """Some messages from this one on: as many as are quickly dealt with, and one at least."""
    at, size, end = first, 0, len(messages)
    while at < end and size < PORTION_BYTES:
        content = messages[at].content
        size += PORTION_NODE + (len(content) if isinstance(content, str) else sum(map(_length, content)))
        at += 1
    return messages[first:at]


def _length(block: Block) -> int:
    match block:
        case TextBlock(text) | ThinkingBlock(text):
            return PORTION_NODE + len(text)
        case ToolResultBlock():
            return PORTION_NODE + len(block.content)
        case ImageBlock():
            return PORTION_NODE + len(block.data)
    return 4 * PORTION_NODE


def measure(messages: Iterable[Message]) -> Tally:
    bytes = tokens = turns = 0
    for message in messages:
        size = len(canonical(message))
        bytes += size
        turns += begins_turn(message)
        for block in () if isinstance(message.content, str) else message.content:
            if isinstance(block, ImageBlock):
                size -= len(block.data) * 4 // 3
                tokens += IMAGE_TOKENS
        tokens += size // 4
    return Tally(bytes, tokens, turns)


def weight(messages: list[Message], json_bytes: int | None = None) -> int:
    """What they take in the host's memory, about, and never less than their JSON (`json_bytes`, if it is known)."""
    size = NODE_BYTES * len(messages)
    for message in messages:
        content = message.content
        if isinstance(content, str):
            size += sys.getsizeof(content)
        else:
            size += sum(map(_memory, content)) + NODE_BYTES * len(content)
    return max(size, len(canonical(messages)) if json_bytes is None else json_bytes)


def _memory(block: Block) -> int:
    match block:
        case TextBlock(text) | ThinkingBlock(text):
            size = sys.getsizeof(text)
        case ImageBlock():
            size = len(block.data)
        case ToolUseBlock():
            size = memory_of(block.input)
        case ToolResultBlock():
            return sys.getsizeof(block.content)
    return size if block.state is None else size + memory_of(block.state)


def memory_of(value: object) -> int:
    """About what a JSON value takes as objects, without a walk: its text, and each comma and bracket an item."""
    text = canonical(value)
    items = text.count(b",") + text.count(b"[") + 4 * text.count(b"{")
    return len(text) * (1 if text.isascii() else 4) + items * NODE_BYTES


# ── cutting ─────────────────────────────────────────────────────────────────────────────────────────────


def begins_turn(message: Message) -> bool:
    """A user's message that answers no call."""
    if message.role != "user":
        return False
    return isinstance(message.content, str) or not any(
        isinstance(block, ToolResultBlock) for block in message.content
    )


def turn_starts(messages: list[Message]) -> list[int]:
    """Where turns begin: at each of these the list may be cut, and both halves are sound."""
    return [place for place, message in enumerate(messages) if begins_turn(message)]


def without(messages: list[Message], first: int) -> list[Message]:
    """The messages from `first` on, as they may be sent without those before.

    Bound reasoning goes, but for that of a turn whose calls still wait: there the server wants it back.
    """
    if first <= 0:
        return list(messages)
    kept = messages[first:]
    open_from = len(kept)
    if kept and tool_uses(kept[-1]):
        open_from = max([0, *turn_starts(kept)])
    return [message if at >= open_from else _unbound(message) for at, message in enumerate(kept)]


def _unbound(message: Message) -> Message:
    if isinstance(message.content, str):
        return message
    blocks = [
        block
        for block in message.content
        if not (isinstance(block, ThinkingBlock) and (block.state or {}).get("wire") in BOUND)
    ]
    return message if len(blocks) == len(message.content) else Message(message.role, blocks)


def shortened(messages: list[Message], max_messages: int | None, max_tokens: int | None) -> list[Message] | None:
    """The newest turns that fit both limits; where the last turn alone does not, its prompt and newest rounds.

    Pairs of call and result stay together, and the first message is a prompt. None when not even the prompt and
    the last round fit. A limit of 0 leaves nothing.
    """
    if max_messages == 0 or max_tokens == 0:
        return []
    count = len(messages)
    tokens = [0] * (count + 1)  # of the messages from each place on
    for place in range(count - 1, -1, -1) if max_tokens is not None else ():
        tokens[place] = tokens[place + 1] + measure(messages[place : place + 1]).tokens

    def fits(first: int, start: int, answer: int) -> bool:
        """The messages from `first` on, behind those from `start` to `answer`."""
        length = count - first + answer - start
        size = tokens[first] + tokens[start] - tokens[answer]
        return (max_messages is None or length <= max_messages) and (max_tokens is None or size <= max_tokens)

    starts = turn_starts(messages)
    for first in starts:
        if fits(first, 0, 0):
            return without(messages, first)
    start = starts[-1] if starts else count
    rounds = [place for place in range(start, count) if messages[place].role == "assistant"]
    for first in rounds[1:]:
        if fits(first, start, rounds[0]):
            return messages[start : rounds[0]] + without(messages, first)
    return None if messages else []


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────


def as_text(messages: Iterable[Message]) -> str:
    """The conversation as a text that any model can read: who said what, tools included, reasoning left out."""
    lines = []
    for message in messages:
        name = message.role.capitalize()
        for block in [TextBlock(message.content)] if isinstance(message.content, str) else message.content:
            match block:
                case TextBlock(text):
                    lines.append(f"{name}: {text}")
                case ToolUseBlock():
                    lines.append(f"{name} calls {block.name}: {canonical(block.input).decode()}")
                case ToolResultBlock():
                    lines.append(f"{'Error' if block.is_error else 'Result'}: {block.content}")
                case ImageBlock():
                    lines.append(f"{name} shows a picture.")
                case ThinkingBlock():
                    pass
    return "\n\n".join(lines)
