"""One VM's calls: taken from its worker, run, ended when nobody waits any more, and answered with bytes.

How one is answered is the ladder's. A worker may lie: what no VM of ours would send is HostFault, and ends it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import trio

from luahost.bridge.ladder import Ladder
from luahost.bridge.open_call import OpenCall
from luahost.bridge.syscalls import QUICK
from luahost.errors import HostFault
from luahost.ops import results
from luahost.ops.results import Result
from luahost.ops.world import Piece
from luahost.vm import protocol
from luahost.workers.worker import Port


class Bridge:
    """One VM's. `port` carries the calls and their replies; `nursery` runs those that wait."""

    def __init__(self, ladder: Ladder, port: Port, nursery: trio.Nursery) -> None:
        self.ladder, self._port, self._nursery = ladder, port, nursery
        self.now_s = ladder.share.world.now_s
        self._pace, self._owner = ladder.share.world.pace, ladder.share.owner
        self._open: dict[int, OpenCall] = {}
        self._next: OrderedDict[int, OpenCall] = OrderedDict()  # not begun: what task comes to run takes the oldest
        self._ending: dict[int, OpenCall] = {}  # nobody waits for them any more
        self._dropped: set[int] = set()  # the same, of those not begun: each has a task too many
        self._quiet = trio.lowlevel.ParkingLot()  # until nothing is ending
        self._held_bytes = 0  # arguments of the calls under way; an honest VM has room for them itself
        self.calls = 0
        self.noes: list[Result] = []  # failed calls of this activation, for the one who must act

    def begin(self, call: protocol.Call) -> None:
        """A VM asked; the reply is sent when there is one. Raises HostFault when the worker must be lying."""
        if call.id in self._open or call.id in self._ending or call.id in self._dropped:
            raise HostFault("a call was numbered twice", kind="worker_lied")
        ended = len(self._ending) + len(self._dropped)
        if len(self._open) >= protocol.MAX_OPEN_CALLS or ended >= 4 * protocol.MAX_OPEN_CALLS:
            raise HostFault(f"more than {protocol.MAX_OPEN_CALLS} calls at a time", kind="worker_lied")
        self.calls += 1
        op = call.op.decode(errors="replace")
        limits, size = self._port.limits, len(memoryview(call.args))
        if op in QUICK and not self._ending and size <= protocol.LONG:
            self._reply(call.id, self.ladder.at_once(op, call.args))
            return
        if self._held_bytes and self._held_bytes + size > limits.memory_bytes:
            message = (
                f"calls under way hold {self._held_bytes} bytes of arguments; they may hold {limits.memory_bytes}"
            )
            self._reply(call.id, results.error("too_large", message))
            return
        self._held_bytes += size
        entry = self._open[call.id] = OpenCall(call, self._tell)
        self._next[call.id] = entry
        self._nursery.start_soon(self._run_next)

    def ack(self, ack: protocol.Ack) -> None:
        entry = self._open.get(ack.id)
        if entry is not None:
            entry.acked(ack.go_on)

    @property
    def waiting_for(self) -> list[str]:
        """The operations under way, oldest first."""
        return [entry.op for entry in self._open.values()]

    @property
    def asking(self) -> bool:
        """Whether a call waits for an approver."""
        return any(entry.asking for entry in self._open.values())

    def drop(self, task: int) -> None:
        """The VM's task is gone: so are its calls, and nobody waits for their replies."""
        for entry in list(self._open.values()):
            if task in (0, entry.task):
                self.forget(entry.id)

    def forget(self, id: int) -> None:
        """Nobody waits for this call any more, if there is one: it ends now.

        What the VM asks next finds its session free and its reservation given back.
        """
        entry = self._open.pop(id, None)
        if entry is None:
            return
        if self._next.pop(id, None) is not None:
            self._held_bytes -= len(memoryview(entry.args))
            self._dropped.add(id)
            return
        entry.forgotten = True
        self._ending[id] = entry
        self._pace.soon(self._owner, entry.life.cancel)

    async def _run_next(self) -> None:
        """Calls come to the gate in the order they were asked in, which is not that of trio's tasks."""
        await self._pace.turn(self._owner)
        while self._ending:
            await self._quiet.park()
            await self._pace.turn(self._owner)
        if self._next:
            _, entry = self._next.popitem(last=False)
            await self._run(entry)
        else:
            self._dropped.pop()

    async def _run(self, entry: OpenCall) -> None:
        try:
            with entry.life:
                result: Any = None
                with entry.scope:
                    result = await self.ladder.climb(entry)
                if entry.ended is not None:
                    result = self.ladder.ended(entry)
                await entry.taken()  # the script hears the end after what it was given before
                await self._pace.turn(self._owner)
                if not entry.forgotten:
                    self._reply(entry.id, result)
        finally:
            self._held_bytes -= len(memoryview(entry.args))
            self._open.pop(entry.id, None)
            if entry.forgotten:
                del self._ending[entry.id]
                if not self._ending:
                    self._quiet.unpark_all()

    def _reply(self, id: int, result: Any) -> None:
        if isinstance(result, dict) and result.get("ok") is False:
            self.noes.append(result)
            del self.noes[:-100]
        try:
            payload = protocol.encode(result)
        except (TypeError, ValueError, OverflowError) as error:
            payload = protocol.encode(results.error("internal", f"the answer cannot enter the VM: {error}"))
        limit = self._port.limits.value_bytes
        if len(payload) > limit:
            payload = protocol.encode(
                results.error("too_large", f"the answer is {len(payload)} bytes; a value may have {limit}")
            )
        self._port.send(protocol.reply(id, payload, self.now_s()))

    def _tell(self, id: int, pieces: list[Piece]) -> None:
        """A batch of a stream."""
        self._port.send(protocol.events(id, protocol.encode(pieces), self.now_s()))
