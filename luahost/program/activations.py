"""What a VM is doing: its activations, from the message that starts one to the answer that ends it.

An activation is one task of the script: its load, a run, a request, a signal. Several may be under way in one VM.
Whoever waits for one may leave at any time: then its calls end at once, and its coroutine too, or its worker. Knows
nothing of what a script is made of, of names or of children.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from luahost.bridge.calls import Bridge
from luahost.errors import ConfigError, Exhausted, LuahostError, Stopped
from luahost.program.outcomes import error_of
from luahost.standing import Usage
from luahost.values import MAX_DEPTH, Limits, Value, deeper_than, shown
from luahost.vm import frames, protocol
from luahost.workers.worker import Port

OUTPUT_SPARE = 64 * 1024
"""What a worker may send over its VM's output limit before it is taken for a lying one."""
CANCEL_GRACE_S = 0.05
"""How long a cancelled activation's step may go on before its worker is ended."""
CANCEL_CPU_S, CANCEL_LOOKS = 0.02, 20
"""A worker that has not had so much of a core could not end it yet, and is looked at again; so often at most."""


class _Activation:
    """One task of a VM, and who waits for it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.value: Value = None
        self.error: LuahostError | None = None

    def end(self, value: Value = None, error: LuahostError | None = None) -> None:
        if not self.done.is_set():
            self.value, self.error = value, error
            self.done.set()


class Activations:
    """One VM's. `put_out(kind, text)` takes what it prints; `nursery` runs what outlives the one who waited;
    `on_end` is called once, when no more can be started, and must not wait; `on_cpu` is told each step's seconds.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        bridge: Bridge,
        port: Port,
        limits: Limits,
        nursery: trio.Nursery,
        put_out: Callable[[str, str], None],
        on_end: Callable[[], None],
        on_cpu: Callable[[float], None],
    ) -> None:
        self._bridge, self._port, self._limits, self._nursery = bridge, port, limits, nursery
        self._give_out, self._on_end, self._on_cpu = put_out, on_end, on_cpu
        self._below_cpu_s = 0.0  # CPU of VMs below, since this one was last idle
        self.usage = Usage()
        self.ended: LuahostError | None = None  # why no more can be started
        self._tasks: dict[int, _Activation] = {}
        self.last = 0
        self._output_left = 0  # characters that this activation may still bring; the VM's own limit comes first
        port.on_want, port.on_output, port.on_lost = self._heard, self._put_out, self._lost

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, entry: str, arg: Value) -> Value:
        """Starts the script at an entry (load, run, request, handler) and waits for what comes of it."""
        if self.ended is not None:
            raise self.ended
        now_s = self._bridge.now_s
        try:
            message = protocol.start(self.last + 1, entry, arg, now_s())
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ConfigError(f"{entry}: a value of JSON's types expected: {error}") from None
        if deeper_than(arg, MAX_DEPTH):
            raise ConfigError(f"{entry}: a value nested at most {MAX_DEPTH} deep expected")
        if len(message) > self._limits.value_bytes:
            raise ConfigError(
                f"{entry}: a value of at most {self._limits.value_bytes} bytes expected, got {len(message)}"
            )
        if not self._tasks:
            self._port.worker.begin_activation()
            self._bridge.noes.clear()
            self._below_cpu_s = 0.0
            self._output_left = 2 * self._limits.output_bytes + OUTPUT_SPARE
        self.last += 1
        self.usage.activations += 1
        task, activation = self.last, _Activation()
        self._tasks[task] = activation
        wall_s, began = self._limits.wall_s, trio.current_time()
        self.usage.largest_value_bytes = max(self.usage.largest_value_bytes, len(message))
        try:
            self._port.send(message)
            with trio.move_on_after(math.inf if wall_s is None else wall_s) as deadline:
                await activation.done.wait()
            if deadline.cancelled_caught and not activation.done.is_set():
                raise Stopped(f"the wall clock limit of {wall_s:g} s is used up", kind="deadline_exceeded")
        finally:
            self.usage.wall_s += trio.current_time() - began
            self._tasks.pop(task, None)
            if not activation.done.is_set():
                self._abandon(task)
        if activation.error is not None:
            raise activation.error
        return activation.value

    def end(self, why: LuahostError) -> None:
        """Ends what is under way, and lets nothing begin."""
        first = self.ended is None
        self.ended = self.ended or why
        self._bridge.drop(0)
        for activation in list(self._tasks.values()):
            activation.end(error=why)
        if first:
            self._on_end()

    def charge(self, cpu_s: float) -> None:
        """A VM below used CPU. It is this one's too: nobody gets round a limit through children."""
        self._below_cpu_s += cpu_s
        # One that used all of it alone has gone a little over, and its parent may still hear of that.
        if self._tasks and self._below_cpu_s > 1.1 * self._limits.cpu_s + 0.05:
            self.end(self._spent())

    def check_below(self) -> None:
        """Before a VM below begins something: Exhausted when others below have used up this one's CPU."""
        if self._tasks and self._below_cpu_s > 0.98 * self._limits.cpu_s:  # they are stopped a little before it
            raise self._spent()

    def _spent(self) -> Exhausted:
        return Exhausted(f"the CPU limit of {self._limits.cpu_s:g} s is used up by the VMs below", limit="cpu_s")

    def cancel(self, why: LuahostError) -> None:
        """Ends what is under way; more can be started."""
        for task, activation in list(self._tasks.items()):
            if not activation.done.is_set():
                self._abandon(task)
                activation.end(error=why)

    def _abandon(self, task: int) -> None:
        """Nobody waits for the task any more: its calls end now, its coroutine too or else its worker."""
        self._bridge.drop(task)
        self._port.send(protocol.cancel(task, self._bridge.now_s()))
        self._nursery.start_soon(self._insist, self._port.steps_done + self._port.steps_open)

    async def _insist(self, steps: int) -> None:
        worker = self._port.worker
        used_s = worker.cpu_s()
        for _ in range(CANCEL_LOOKS):
            with trio.CancelScope(shield=True):
                await trio.sleep(CANCEL_GRACE_S)
            if self._port.lost is not None or self._port.steps_done >= steps:
                return
            if worker.cpu_s() - used_s > CANCEL_CPU_S:
                break
        if self._port.alone:
            worker.kill(Stopped("the script did not end when it was cancelled", kind="cancelled"))

    # ── what the worker says ────────────────────────────────────────────────────────────────────────────

    def _heard(self, want: protocol.Want | protocol.Returned) -> None:
        if isinstance(want, protocol.Call):
            self._bridge.begin(want)
        elif isinstance(want, protocol.Ack):
            self._bridge.ack(want)
        elif isinstance(want, protocol.Returned):
            activation = self._tasks.get(want.task)
            self._bridge.drop(want.task)
            if activation is not None:
                self.usage.largest_value_bytes = max(self.usage.largest_value_bytes, want.size)
                activation.end(want.value)
        elif isinstance(want, protocol.Failed):
            self._failed(want)
        elif isinstance(want, protocol.Drop):
            self._bridge.forget(want.id)
        elif isinstance(want, protocol.More):
            self._port.send(protocol.go_on(self._bridge.now_s()))
        elif isinstance(want, protocol.Stats):
            usage = self.usage
            spent_s = max(0, want.cpu_us) / 1e6
            usage.cpu_s += spent_s
            self._on_cpu(spent_s)
            usage.memory_bytes = max(0, want.memory_bytes)
            usage.memory_peak_bytes = max(usage.memory_peak_bytes, usage.memory_bytes)
            usage.output_bytes = max(usage.output_bytes, want.output_bytes)
            usage.output_dropped_bytes = max(usage.output_dropped_bytes, want.dropped_bytes)

    def _failed(self, failed: protocol.Failed) -> None:
        error = error_of(failed, self._bridge.noes)
        dead = failed.kind in (b"cpu", b"memory", b"broken", b"killed")
        tasks = list(self._tasks) if failed.task == 0 or dead else [failed.task]
        for task in tasks:
            self._bridge.drop(task)
            if task in self._tasks:
                self._tasks[task].end(error=error)
        if dead and self.ended is None:
            self.end(error)

    def _put_out(self, kind: str, text: str) -> None:
        self._output_left -= len(text) + 1
        if self._output_left < 0:
            raise frames.FrameError("more output than its VM may write")
        self._give_out(kind, shown(text, one_line=kind.startswith("log.")))

    def _lost(self, error: LuahostError) -> None:
        self.end(error)
