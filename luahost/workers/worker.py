"""One worker process, and the ports of the VMs in it.

Sending never waits: what the socket does not take at once is kept and written when it can be. One task reads;
what comes is checked, and a worker that lies is killed. Whatever ends the process, each of its ports hears of
it exactly once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from luahost.errors import Exhausted, HostFault, LuahostError
from luahost.pace import Pace
from luahost.parts import Parts, T, at_once
from luahost.values import Limits
from luahost.vm import frames, protocol

if TYPE_CHECKING:
    from luahost.workers.zygote import Zygote

RECV_BYTES = 1 << 16
IDLE_CPU_S = 0.3
GAVE_WAY_NICE = 15
MUCH_BYTES = 1 << 20
"""Who has something large for a VM waits until its worker has taken what was sent before, but for so much."""
UNSENT_BYTES = 1 << 24
"""What may wait for a worker that does not read is what its VMs could hold, and this."""


class Port:
    """One VM's place in a worker. The callbacks are set by the bridge; none of them may wait or raise."""

    def __init__(self, worker: Worker, vm: int, limits: Limits, tree: int) -> None:
        self.worker = worker
        self.vm = vm
        self.tree = tree  # the agent tree it belongs to: its root's number
        self.limits = limits
        self.steps_open = 0  # sent and not yet answered
        self.steps_done = 0
        self.lost: LuahostError | None = None
        self.on_want: Callable[[protocol.Want | protocol.Returned], None] = lambda want: None
        self.on_output: Callable[[str, str], None] = lambda kind, text: None
        self.on_lost: Callable[[LuahostError], None] = lambda error: None

    @property
    def alone(self) -> bool:
        """Whether no other VM would be lost with its worker."""
        return len(self.worker.ports) <= 1

    def send(self, message: bytes) -> None:
        """One message for the VM; nothing happens when its worker is gone."""
        if self.lost is None:
            self.worker.step_begins(self)
            self.steps_open += 1
            self.worker.write(frames.frame(frames.STEP, self.vm, message))

    async def caught_up(self) -> None:
        """Until little of what was sent still waits for the worker, or nobody waits for anything any more."""
        while self.lost is None and self.worker.is_behind:
            await self.worker.took_some.park()

    def fail(self, error: LuahostError) -> None:
        if self.lost is None:
            self.lost = error
            self.on_lost(error)


class Worker:
    """A forked worker. `run` is its reader task and ends when the process is buried."""

    def __init__(self, zygote: Zygote, pid: int, sock: socket.socket, limits: Limits, pace: Pace) -> None:
        self.zygote, self.pid, self.limits, self._pace = zygote, pid, limits, pace
        self.ports: dict[int, Port] = {}
        self.alive = True
        self.gone = trio.Event()
        self._under_way: deque[Port] = deque()  # whose steps were sent and not yet answered, in their order
        self._steps_begun = 0
        self.gave_way = False  # runs behind the others
        self._idle_mark: tuple[float, int] | None = None  # CPU clock and _steps_begun at the watchdog's last look
        self.cpu_mark_s = 0.0  # the CPU clock when the activation (isolation vm) or the step (others) began
        self.wall_mark_s = 0.0  # the wall clock when the step under way began
        self._sock = sock
        self._reader = frames.FrameReader(limits.value_bytes + frames.FRAME_SPARE)
        self._unsent = bytearray()
        self._writable = trio.Event()
        self.took_some = trio.lowlevel.ParkingLot()
        self._end: LuahostError | None = None
        self._ended_by: Port | None = None

    # ── for ports ───────────────────────────────────────────────────────────────────────────────────────

    def open(self, vm: int, limits: Limits, spec: frames.OpenVM, tree: int) -> Port:
        port = self.ports[vm] = Port(self, vm, limits, tree)
        self._reader.max_bytes = max(self._reader.max_bytes, limits.value_bytes + frames.FRAME_SPARE)
        self.write(frames.frame(frames.OPEN, vm, spec.pack()))
        return port

    def drop(self, port: Port) -> None:
        """The port's VM is closed, the worker stays."""
        if self.ports.pop(port.vm, None) is not None and self.alive:
            self.write(frames.frame(frames.CLOSE, port.vm, b""))

    def write(self, data: bytes) -> None:
        if not self.alive:
            return
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it is dying; the reader will see that and say so
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        if len(self._unsent) > UNSENT_BYTES and len(self._unsent) > self._room():
            self.kill(Exhausted("more answers wait for the VM than its memory holds", limit="memory_bytes"))
            self._unsent.clear()
        self._writable.set()

    @property
    def is_behind(self) -> bool:
        """Whether much of what was sent still waits for it."""
        return self.alive and len(self._unsent) > MUCH_BYTES

    def _room(self) -> int:
        return sum(port.limits.memory_bytes for port in self.ports.values()) + UNSENT_BYTES

    def kill(self, error: LuahostError, by: Port | None = None) -> None:
        """SIGKILL; the ports hear `error`. Where it is one VM's doing, the others hear that theirs is lost with it.

        Returns at once, `gone` is set when the process is buried.
        """
        if self.alive:
            self.alive = False
            self._end, self._ended_by = error, by
            if self.zygote.alive:  # it is not buried yet, so the pid is its own
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

    def give_way(self) -> None:
        """It computes for long: the host, and workers that answer quickly, come first from now on.

        Nothing where the kernel does not let us (a host that is root without CAP_SYS_NICE).
        """
        self.gave_way = True
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, GAVE_WAY_NICE)

    # ── what the watchdog reads ─────────────────────────────────────────────────────────────────────────

    def begin_activation(self) -> None:
        """A VM that was idle is given work: with a worker of its own, its CPU is counted from here."""
        if self.limits.isolation == "vm":
            self.cpu_mark_s = self.cpu_s()
            if self.gave_way:
                with suppress(OSError):  # only root may take it back; else it stays behind the others
                    os.setpriority(os.PRIO_PROCESS, self.pid, 0)
                    self.gave_way = False

    @property
    def running(self) -> Port | None:
        """Whose step is under way: a worker takes them in the order they were sent."""
        return self._under_way[0] if self._under_way else None

    def step_begins(self, port: Port) -> None:
        if not self._under_way:
            self._mark_step()
        self._under_way.append(port)
        self._steps_begun += 1

    def _mark_step(self) -> None:
        self.wall_mark_s = time.monotonic()
        if self.limits.isolation != "vm":
            self.cpu_mark_s = self.cpu_s()

    def cpu_s(self) -> float:
        """CPU the process has used so far, in seconds, by the kernel's account.

        Where another process's clock cannot be read (not Linux) the wall clock of the current step stands in.
        """
        if sys.platform != "linux":
            return self.cpu_mark_s + (time.monotonic() - self.wall_mark_s if self._under_way else 0.0)
        try:
            return time.clock_gettime((~self.pid) << 3 | 2)
        except OSError:
            return self.cpu_mark_s

    def idle_use(self) -> LuahostError | None:
        """An error when the process worked since the last look and had no step to do: none of ours does."""
        last, self._idle_mark = self._idle_mark, (self.cpu_s(), self._steps_begun)
        if last is None or last[1] != self._steps_begun or self._idle_mark[0] - last[0] < IDLE_CPU_S:
            return None
        return HostFault("the worker works without having been asked to; it was ended", kind="worker_lied")

    # ── tasks ───────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_unsent)
            try:
                await self._read()
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await self._bury()

    async def _read(self) -> None:
        sock, reader = self._sock, self._reader
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                data = sock.recv(RECV_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            try:
                for kind, vm, payload in reader.feed(data):
                    await self._pace.turn(self)
                    await self._dispatch(kind, vm, payload)
            except (frames.FrameError, HostFault) as error:
                self.kill(HostFault(f"the worker sent {error}; it was ended", kind="worker_lied"))
                return

    async def _dispatch(self, kind: int, vm: int, payload: bytes) -> None:
        port = self.running
        if port is None or port.vm != vm:
            raise frames.FrameError(f"a frame of VM {vm}, which has no step to do")
        if kind == frames.STEPPED:
            self._under_way.popleft()
            port.steps_open -= 1
            port.steps_done += 1
            if self._under_way:
                self._mark_step()
            if port.lost is not None:  # it was closed meanwhile
                return
            wants = await self._read_in_parts(protocol.reading_wants(payload), len(payload))
            for want in wants[-1:] + wants[:-1]:  # what the step used is known before anybody hears of its end
                await self._pace.turn(self)
                heard: protocol.Want | protocol.Returned = want
                if isinstance(want, protocol.Done):
                    heard = await self._read_in_parts(protocol.returned(want), len(payload))
                if not self.alive or port.lost is not None:
                    return
                port.on_want(heard)
        elif port.lost is not None:
            return
        elif kind == frames.OUTPUT:
            name, _, text = payload.partition(b"\0")
            port.on_output(name.decode(errors="replace"), text.decode(errors="replace"))
        else:
            raise frames.FrameError(f"a frame of unknown kind {kind}")

    async def _read_in_parts(self, work: Parts[T], size: int) -> T:
        return await self._pace.through(self, work) if size > protocol.LARGE else at_once(work)

    async def _write_unsent(self) -> None:
        while True:
            await self._writable.wait()
            await trio.lowlevel.wait_writable(self._sock)
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                continue
            except OSError:
                return
            del self._unsent[:sent]
            if not self._unsent:
                self._writable = trio.Event()
            if len(self._unsent) <= MUCH_BYTES:
                self.took_some.unpark_all()

    async def _bury(self) -> None:
        self.kill(HostFault("the worker ended", kind="worker_lost"))
        status = await self.zygote.bury(self.pid)
        self._sock.close()
        end, by = self._end, self._ended_by
        if end is None or (isinstance(end, HostFault) and end.kind == "worker_lost"):
            end, by = _why(status, self.running, zygote_alive=self.zygote.alive), self.running
        for port in list(self.ports.values()):
            lost_along = by is not None and port is not by
            port.fail(
                HostFault(f"the worker ended with another VM in it: {end.message}", kind="worker_lost")
                if lost_along
                else end
            )
        self.ports.clear()
        self.took_some.unpark_all()
        self.gone.set()


def _why(status: int, running: Port | None, *, zygote_alive: bool) -> LuahostError:
    """What a process's end means to the VM that was running in it."""
    if not zygote_alive:
        return HostFault(
            "the worker is gone with the zygote that made it; load the script again", kind="worker_lost"
        )
    if status >= 0 and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU and running is not None:
            return Exhausted(f"the CPU limit of {running.limits.cpu_s:g} s is used up", limit="cpu_s")
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return HostFault(f"the worker crashed ({name}); its script can only be loaded again", kind="worker_lost")
    if status >= 0 and os.WIFEXITED(status) and os.WEXITSTATUS(status):
        return HostFault("the worker ended in an error, most likely out of memory", kind="worker_lost")
    return HostFault("the worker ended", kind="worker_lost")
