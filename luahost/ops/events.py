"""What happened, told to whoever is above: orcs.emit_event, board_recent; and is_alive, request_stop. All ungated.

An event is something to look at, not a call: it is put on the board of the VM that tells it and of each VM above,
and nothing runs because of it. So a VM sees its own events and those from below, never its parent's or a sibling's.
A board keeps the last so many events and bytes; no provider's key is ever on one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from luahost.ops.children.family import found
from luahost.ops.llm import secrets
from luahost.ops.results import Result
from luahost.ops.world import Share

MAX_PAYLOAD_BYTES = 16 * 1024


class EventArgs(msgspec.Struct, frozen=True):
    category: str
    operation: str
    payload: Any = None


class CountArgs(msgspec.Struct, frozen=True):
    count: int


class NameArgs(msgspec.Struct, frozen=True):
    path: str


# One at a time for each VM, so that a thousand calls that come together do not hold the host up together.


async def emit(share: Share, args: EventArgs) -> bool:
    """Whether it is on the board: not when it is too large."""
    async with share.looking:
        return _emit(share, args)


def _emit(share: Share, args: EventArgs) -> bool:
    packed = msgspec.msgpack.encode(args)
    if len(packed) > MAX_PAYLOAD_BYTES:
        return False
    entry = {
        "timestamp": share.world.now_s(),
        "source": {"name": share.program.name},
        "kind": "event",
        "category": args.category,
        "operation": args.operation,
    }
    if args.payload is not None:
        entry["payload"] = args.payload
    for provider in share.world.providers.values():
        key = provider.key()
        if key and any(
            spelt.encode() in packed for spelt in (key, quote(key, safe=""))
        ):  # walked through if need be
            entry = secrets.without(entry, key)
    share.board.put(entry, len(packed))
    return True


async def recent(share: Share, args: CountArgs) -> list[dict[str, Any]]:
    """The last so many, the oldest first."""
    async with share.looking:
        return share.board.last(max(0, args.count))


def is_alive(share: Share, args: NameArgs) -> bool:
    """Whether the VM at an address below this one, or the one of this name, still lives."""
    me = share.program
    if args.path in ("", me.name):
        return True
    child = found(me, args.path.removeprefix(f"{me.name}/"))
    return child is not None


def request_stop(share: Share, args: None) -> Result:
    """{ok}: this VM is closed once what it is doing is done."""
    share.program.stop_soon()
    return {"ok": True}
