"""A tool's name as a wire takes it, and back: scripts name tools as they like, servers take a few letters.

A name that a wire takes stays as it is. Any other becomes its letters and a digest of all of it, so it is the same
in every turn, and two names that look alike do not become one. Names the model made up go back unchanged.

Knows no wire: which names one takes is given as a pattern. Sources: LLM_WIRE.md C5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import blake2s
from typing import TypeVar

import msgspec

from luahost.wire.messages import Block, Conversation, Message, Options, Tool, ToolUseBlock

OPENAI = re.compile(r"[A-Za-z0-9_-]{1,64}")
GEMINI = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")

_T = TypeVar("_T", Tool, ToolUseBlock)
_WORDS = ("auto", "none", "required")  # of tool_choice


class Names:
    """The names of one conversation. `back`: a wire's name -> ours, for those that differ."""

    def __init__(self, taken: re.Pattern[str], names: Iterable[str]) -> None:
        self._out: dict[str, str] = {}
        self.back: dict[str, str] = {}
        known = sorted(set(names))
        used = {name for name in known if taken.fullmatch(name)}
        for name in known:
            if name in used:
                continue
            written = _written(name, 3)
            if written in used:  # somebody has a tool that is called so
                written = _written(name, 10)
            used.add(written)
            self._out[name], self.back[written] = written, name

    def out(self, conversation: Conversation, options: Options) -> tuple[Conversation, Options]:
        """Both with the wire's names in place of ours."""
        if not self._out:
            return conversation, options
        tools = [_renamed(tool, self._name) for tool in conversation.tools]
        messages = [self._message(message) for message in conversation.messages]
        if options.tool_choice is not None and options.tool_choice not in _WORDS:
            options = msgspec.structs.replace(options, tool_choice=self._name(options.tool_choice))
        return msgspec.structs.replace(conversation, tools=tools, messages=messages), options

    def _name(self, name: str) -> str:
        return self._out.get(name, name)

    def _message(self, message: Message) -> Message:
        if isinstance(message.content, str):
            return message
        blocks: list[Block] = [
            _renamed(block, self._name) if isinstance(block, ToolUseBlock) else block for block in message.content
        ]
        return Message(message.role, blocks)


def names_in(conversation: Conversation) -> set[str]:
    """Of the tools on offer, and of those that were called."""
    found = {tool.name for tool in conversation.tools}
    for message in conversation.messages:
        if not isinstance(message.content, str):
            found.update(block.name for block in message.content if isinstance(block, ToolUseBlock))
    return found


def _renamed(item: _T, rename: Callable[[str], str]) -> _T:
    return msgspec.structs.replace(item, name=rename(item.name))


def _written(name: str, digest_bytes: int) -> str:
    digest = blake2s(name.encode("utf-8", "surrogatepass"), digest_size=digest_bytes).hexdigest()
    letters = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    room = 64 - len(digest) - 3
    return f"t_{letters[:room]}_{digest}" if not letters[:1].isalpha() else f"{letters[:room]}_{digest}"
