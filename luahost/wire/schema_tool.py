"""A schema for a model whose wire has no word for one: a tool is put on offer whose arguments are the answer.

The pair is invisible: `ask` adds the tool and makes the model call it, `Reader` turns that call into the answer's
text. Beside tools of the script's own the model must call one, be it another; what it then calls goes through. An
answer that is no object travels inside one. Text written beside the call is left out; without a call, it is the
answer.

Knows no wire. Sources: LLM_WIRE.md C1, W6; issue "structured output".
"""

from __future__ import annotations

import json

import msgspec

from luahost.wire import schemas
from luahost.wire.decoder import Around, Decoder
from luahost.wire.events import SHOWN, End, Event, Keep, Text, ToolCall
from luahost.wire.messages import Conversation, Options, TextBlock, Tool

_DESCRIPTION = "Gives the final answer. Call it once, when the answer is complete, and write nothing else."
_INSIDE = "answer"  # the member that holds an answer which is no object


def ask(conversation: Conversation, options: Options) -> tuple[Conversation, Options, str]:
    """The conversation with the tool, the options that force it, and the tool's name."""
    taken = {tool.name for tool in conversation.tools}
    name = next(
        name for name in ("respond", *(f"respond_{n}" for n in range(2, len(taken) + 3))) if name not in taken
    )
    schema = options.response_schema or {}
    if not schemas.is_object(schema):
        shared: schemas.Schema = {word: schema[word] for word in ("$defs", "definitions") if word in schema}
        bare = {word: value for word, value in schema.items() if word not in shared}
        schema = {"type": "object", "properties": {_INSIDE: bare}, "required": [_INSIDE], **shared}
    forced = name
    if conversation.tools and options.tool_choice != "none":
        forced = "required" if options.tool_choice in (None, "auto", "required") else options.tool_choice
    tools = [*conversation.tools, Tool(name, _DESCRIPTION, schema)]
    options = msgspec.structs.replace(options, response_schema=None, tool_choice=forced)
    return msgspec.structs.replace(conversation, tools=tools), options, name


class Reader(Around):
    """A decoder around a decoder. `inside`: the answer is to be taken out of an object."""

    def __init__(self, decoder: Decoder, name: str, schema: schemas.Schema) -> None:
        super().__init__(decoder)
        self._name = name
        self._inside = not schemas.is_object(schema)
        self._text: list[Event] = []  # waits for the call that makes it void
        self._answered_by_call = False
        self._others = False
        self._shown = False

    @property
    def started_content(self) -> bool:
        return self._shown

    def _read(self, events: list[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, ToolCall) and event.name == self._name:
                if not self._answered_by_call:
                    out.append(Text(self._answer(event)))
                self._answered_by_call = True
            elif isinstance(event, Text) or (isinstance(event, Keep) and isinstance(event.block, TextBlock)):
                self._text.append(event)
            elif isinstance(event, End):
                # Of a stream that broke off nobody knows whether the call would still have come.
                if not self._answered_by_call and event.stop_reason != "stream_incomplete":
                    out += self._text
                out.append(self._end(event))
            else:
                self._others = self._others or isinstance(event, ToolCall)
                out.append(event)
        self._shown = self._shown or any(isinstance(event, SHOWN) for event in out)
        return out

    def _answer(self, call: ToolCall) -> str:
        """As the model wrote it, so that arguments which are no JSON are seen for what they are."""
        arguments = call.arguments
        if self._inside and arguments is not None and _INSIDE in arguments:
            return json.dumps(arguments[_INSIDE], ensure_ascii=False, separators=(",", ":"))
        return call.raw or "{}"

    def _end(self, end: End) -> End:
        """That call is no call: the turn ended with it. Its arguments, good or bad, are judged as any answer's."""
        if not self._answered_by_call or self._others or end.stop_reason not in ("tool_use", "malformed_tool_call"):
            return end
        return End("end_turn", end.raw_reason, None)
