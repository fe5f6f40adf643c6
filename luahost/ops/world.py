"""What an act may use: the host's share of the world, and one VM's share of that."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from luahost import garbage
from luahost.errors import ConfigError
from luahost.gate.grants import Grant
from luahost.gate.permits import Action
from luahost.ops.approval import Approvals, Approver
from luahost.ops.board import Board
from luahost.ops.children.family import Program
from luahost.ops.children.tickets import Tickets
from luahost.ops.lane import Lane
from luahost.ops.llm import prices
from luahost.ops.llm.providers import Provider
from luahost.ops.mcp.servers import McpServers
from luahost.ops.sessions.store import Store
from luahost.pace import Pace
from luahost.room import Room
from luahost.transport.settings import TransportSettings
from luahost.values import Limits

if TYPE_CHECKING:
    from luahost.transport.client import Client

READS = 4
"""Files that one VM reads at a time: the threads of the host are for all, and what is read waits in its memory."""

ROOM_BYTES = 64 * 1024 * 1024
"""What the calls of a VM may hold in the host together, if its heap is not larger."""


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise ConfigError(f"the working directory cannot be used ({error.strerror}); start from another") from None


class World:
    """One per host. The client, and httpx with it, comes with the first call that needs it."""

    def __init__(  # noqa: PLR0917 - what a host hands to its acts
        self,
        providers: Mapping[str, Provider],
        default_provider: str,
        default_model: str | None,
        rng: random.Random,
        transport: TransportSettings | None = None,
        mcp: McpServers | None = None,
    ) -> None:
        self.providers = providers
        self.default_provider = default_provider
        self.default_model = default_model
        self.rng = rng
        self.pace = Pace()
        self.approver: Approver | None = None
        self.approval_timeout_s = math.inf
        self.directory = _directory()  # where relative paths of scripts begin
        self.mcp = mcp if mcp is not None else McpServers({}, lambda *_: None)
        self._transport = transport if transport is not None else TransportSettings()
        self._client: Client | None = None
        self._met: set[str] = set()  # providers that a call can be made to at once
        self._making = trio.Lock()
        self.searchers = trio.CapacityLimiter(2)  # who walks through files: the same, but disks may be slow
        self.evaluators = trio.CapacityLimiter(8)

    def now_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds on a clock that is never set back: expiry, deadlines, latencies."""
        return trio.current_time()

    async def client(self, provider: Provider | None = None) -> Client:
        """The one HTTP client; what speaks to this provider is made too.

        Importing httpx takes a tenth of a second, a wire with its tables a third of that: not in the event loop.
        """
        if self._client is None or (provider is not None and provider.name not in self._met):
            async with self._making:
                self._client = await trio.to_thread.run_sync(self._made_client, provider)
                garbage.settled()
                self._met.update([] if provider is None else [provider.name])
        return self._client

    def _made_client(self, provider: Provider | None) -> Client:
        from luahost.transport.attempts import Client  # imports all that a call needs, in this thread

        if provider is not None:
            _ = provider.spoken
            prices.table()
        return self._client or Client(self._transport, self.pace)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class Share:
    """One VM's: its grants, its sessions, where its modules are. Of other VMs only those below it are reachable."""

    def __init__(
        self, world: World, grants: Mapping[str, Grant], directory: Path | None, limits: Limits | None = None
    ) -> None:
        self.world = world
        self.grants = grants
        self.directory = directory
        self.home = None if directory is None else os.path.realpath(directory)
        self.owner: Hashable = object()  # whose turn it is where calls of many VMs wait for one thing
        self.value_bytes = (limits or Limits()).value_bytes  # what may enter the VM at once
        self.sessions = Store(world.now_s)
        self.lane = Lane()
        self.evaluates = False  # a VM of orcs.sandbox_eval
        self.board = Board()
        self.looking = trio.Lock()  # at the board
        self.searching = trio.Lock()  # through files
        self.searched_s = 0.0  # what the last search took
        self.reading = trio.CapacityLimiter(READS)
        self.room = Room(max((limits or Limits()).memory_bytes, ROOM_BYTES))  # for what calls under way bring
        self.approvals = Approvals(world.approver, world.approval_timeout_s)
        self.ceiling: dict[str, Grant] = {}  # what may be asked for, at most
        self.audit: Callable[..., None] = lambda **fields: None  # one decision; set with the bridge
        self.caught_up: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint  # the VM, with what it was sent
        self.turn = partial(world.pace.turn, self.owner)  # comes when there is time for something short
        self.depth = 0  # of a root; its children are at 1
        self.program: Program  # the VM itself, and through it those below; set when it is made
        self.tickets: Tickets


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What a gated call would do: the action the gate judges, and further ones that must be allowed too."""

    action: Action
    also: tuple[Action, ...] = ()


Piece = str | dict[str, Any]
"""Of a stream, as a script gets it: a text, or an event of any type."""

Emit = Callable[[Piece], Awaitable[bool]]
"""Gives a piece of a stream to the script; False when the script wants no more."""
