"""Tool calls put together from the fragments a stream brings, in the order the calls began.

A fragment says which call it belongs to in up to three ways (index, id, position in its frame), and no
single one of them tells: servers leave the index out, or give every call index 0 (ollama#15457), and some
change the id within one call (vLLM) or repeat id and name in each fragment (llama-cpp-python). So a fragment
opens another call only where its own words and what the open call already holds both say so.

Nothing is handed out before `take`: a stream that broke off never leads to a call. Arguments are read
strictly, one JSON object or nothing at all, never a guess at what was meant.

Knows no wire: each wire turns its frames into `Fragment`s.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from luahost.wire.events import ToolCall
from luahost.wire.lenient import ANSWER_SHARE, NOT_READ, is_heavy
from luahost.wire.messages import State


def parse_arguments(raw: str) -> dict[str, Any] | None:
    """Strict: one JSON object, or nothing at all, which is `{}`. None for anything else."""
    if not raw.strip():
        return {}
    if is_heavy(raw.encode("utf-8", "replace"), ANSWER_SHARE):
        return None
    try:
        value = msgspec.json.decode(raw)
    except NOT_READ:
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


CALL_BYTES = 4096
"""What a call counts beside its text: a thousand are more than any model makes."""


class Fragment(msgspec.Struct, gc=False):
    """What one frame says of one call; `arguments` is a piece of their text, or the whole object."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: Any = None
    state: State | None = None  # what the server wants back with the call


class _Call:
    """One call while its pieces come."""

    __slots__ = ("id", "looks", "name", "pieces", "state")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.state: State | None = None
        self.looks = 32  # how often `whole` may still parse: a hostile server could ask at every byte

    def whole(self) -> bool:
        """Its arguments are one object already, so more of them would belong to another call."""
        if not (self.looks and self.pieces and self.pieces[-1].rstrip().endswith("}")):
            return False
        self.looks -= 1
        return parse_arguments("".join(self.pieces)) is not None


class ToolCalls:
    """The calls of one answer: `add` the fragments of each frame, `take` the calls once they are whole.

    `kept_bytes`: about how much is held, for the caller to bound. `malformed`: why the first call taken
    that must not be run must not be; "" if all may.
    """

    def __init__(self) -> None:
        self.kept_bytes = 0
        self.malformed = ""
        self._slots: dict[int, _Call] = {}
        self._pending: list[_Call] = []
        self._last: _Call | None = None
        self._by_id: dict[str, _Call | None] = {}  # every id the server used
        self._given: set[str] = set()  # every id handed out
        self._number = 0

    def add(self, fragments: list[Fragment]) -> None:
        """The fragments of one frame, in its order."""
        for position, fragment in enumerate(fragments):
            call = self._find(fragment, position, alone=len(fragments) == 1)
            if fragment.id and not call.id:
                call.id = fragment.id
                self._by_id.setdefault(fragment.id, call)
            call.name = call.name or fragment.name or ""
            call.state = call.state or fragment.state
            arguments = fragment.arguments
            if arguments is None:
                continue
            if not isinstance(arguments, str):  # an object where its text was due
                arguments = _as_text(arguments)
            if arguments:
                call.pieces.append(arguments)
                self.kept_bytes += len(arguments) + 64

    def _find(self, fragment: Fragment, position: int, *, alone: bool) -> _Call:
        slot = position if fragment.index is None else fragment.index
        call = self._slots.get(slot)
        named = fragment.id or fragment.name  # most fragments are not: they go on with the open call
        if fragment.index is None:
            known = self._by_id.get(fragment.id or "")
            if known is not None:
                return known
            if alone and not named and self._last is not None:
                return self._last
        if call is None or (named and self._is_another(call, fragment)):
            call = self._slots[slot] = _Call()
            self._pending.append(call)
            self.kept_bytes += CALL_BYTES
        self._last = call
        return call

    @staticmethod
    def _is_another(call: _Call, fragment: Fragment) -> bool:
        if fragment.id and call.id and fragment.id != call.id:
            return bool(fragment.name) or call.whole()
        if not fragment.id and fragment.name and call.name:
            return fragment.arguments not in (None, "") and call.whole()
        return False

    def take(self, stream_id: str) -> list[ToolCall]:
        """All calls so far, whole; those without an id of their own get one."""
        calls: list[ToolCall] = []
        for call in self._pending:
            raw = "".join(call.pieces)
            arguments = parse_arguments(raw) if call.name else None
            if not call.name:
                self.malformed = self.malformed or "the model called a tool without naming it"
            elif arguments is None:
                why = f"the arguments of the call of {call.name!r} are not one JSON object"
                self.malformed = self.malformed or why
            calls.append(ToolCall(self._unique(call.id, stream_id), call.name, arguments, raw, call.state))
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
