"""One call of a script under way: how it is ended, and how its stream reaches the script piece by piece.

A script slows its stream: one batch is with it, what comes meanwhile waits, and beyond a bound the server is no
longer read. Knows no grant and no operation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import trio

from luahost.gate.rules import Refusal
from luahost.ops.world import Piece
from luahost.vm import protocol

STREAM_AHEAD_BYTES = 64 * 1024
"""Streamed text that may wait for a slow on_delta before the server is no longer read."""

EVENT_BYTES = 100
"""What an event of a stream weighs beside its texts."""


class OpenCall:
    """How it is cancelled, and its stream if it has one. `send(id, pieces)` takes a batch to the script."""

    def __init__(self, call: protocol.Call, send: Callable[[int, list[Piece]], None]) -> None:
        self.id, self.task, self.op = call.id, call.task, call.op.decode(errors="replace")
        self.args, self._send = call.args, send
        self.scope = trio.CancelScope()  # the act; cancelled when the gate ends the call
        self.life = trio.CancelScope()  # the act and its reply; cancelled when nobody waits any more
        self.forgotten = False  # nobody waits any more
        self.ended: Refusal | None = None  # the gate ended it
        self.asking = False  # an approver is being asked about it
        self.said: list[str] = []  # streamed so far
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self._unacked = False
        self._go_on = True
        self._acknowledged = trio.lowlevel.ParkingLot()

    @cached_property
    def args_sha256(self) -> str:
        """What the audit has of the arguments; made once, however many decisions the call needs."""
        return hashlib.sha256(self.args).hexdigest()

    def end(self, refusal: Refusal) -> None:
        if self.ended is None:
            self.ended = refusal
            self.scope.cancel()

    # The stream: one batch at a time is with the script; what comes meanwhile waits for its acknowledgement.

    async def emit(self, piece: Piece) -> bool:
        """One more piece for the script; whether it wants the next."""
        if isinstance(piece, str):
            self.said.append(piece)
            self._waiting_bytes += len(piece)
        else:
            if piece["type"] == "text":
                self.said.append(piece["text"])
            self._waiting_bytes += EVENT_BYTES + sum(len(v) for v in piece.values() if isinstance(v, str | bytes))
        self._waiting.append(piece)
        self._flush()
        if not isinstance(piece, str) and piece["type"] == "retry":
            await self.drain()  # a script that wants no further attempt says so before there is one
        while self._go_on and self._unacked and self._waiting_bytes > STREAM_AHEAD_BYTES:
            await self._acknowledged.park()
            self._flush()
        return self._go_on

    async def drain(self) -> None:
        """Until the script has taken everything."""
        self._flush()
        while self._unacked:
            await self._acknowledged.park()
            self._flush()

    async def taken(self) -> None:
        """Until the batch that is with the script is acknowledged."""
        while self._unacked:
            await self._acknowledged.park()

    def acked(self, go_on: bool) -> None:
        self._unacked = False
        self._go_on = self._go_on and go_on
        self._acknowledged.unpark_all()

    def _flush(self) -> None:
        if self._waiting and self._go_on and not self._unacked:
            batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._unacked = True
            self._send(self.id, batch)
