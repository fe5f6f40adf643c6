"""The machine: a Lua VM without any I/O. Messages in, wants out (vm/frames.py has both).

Host calls leave as Call, and the answer comes back through feed(); in between the VM sleeps and nothing here
waits. A VM that hit a limit or broke answers every later message with the same failure: it is never entered
again. Knows no process, no clock, no operation.
"""

from __future__ import annotations

from collections.abc import Callable

from luahost.values import Limits, Value
from luahost.vm import frames
from luahost.vm.sandbox import Sandbox


class Machine:
    """One VM. The worker uses open() and step(); the typed verbs below are the same for people."""

    def __init__(self, post: Callable[[bytes, bytes], None] = lambda kind, text: None) -> None:
        self._sandbox = Sandbox(post)
        self._dead: tuple[str, str] | None = None
        self._memory_bytes = 0
        self._tasks: set[int] = set()

    def open(self, spec: frames.OpenVM) -> Machine:
        self._memory_bytes = spec.memory_bytes
        self._sandbox.open(spec.pack(), spec.memory_bytes)
        return self

    def step(self, message: bytes) -> bytes:
        """One message in, encoded wants out. Never raises."""
        if self._dead is None:
            try:
                if not self._sandbox.has_room_for(len(message)):
                    raise MemoryError
                return self._sandbox.step(message)
            except MemoryError:
                limit = f"the memory limit of {self._memory_bytes / 1048576:.4g} MiB is used up"
                self._dead = ("memory", limit)
            except RuntimeError as error:
                self._dead = ("broken", f"the VM broke: {error}")
        # Task 0 stands for all tasks of the VM.
        return frames.broken(0, *self._dead)

    # ── typed, for tests and the curious ────────────────────────────────────────────────────────────────

    def load(self, source: bytes, *, name: str = "script", input: Value = None, task: int = 1) -> list[frames.Want]:
        spec = {"source": source, "name": name, "input": input}
        return self.start("load", spec, task=task)

    def start(self, entry: str, arg: Value = None, *, task: int = 1, now_s: float = 0.0) -> list[frames.Want]:
        return frames.decode_wants(self.step(frames.start(task, entry, arg, now_s)))

    def feed(self, call: int, value: Value, *, now_s: float = 0.0) -> list[frames.Want]:
        return frames.decode_wants(self.step(frames.reply(call, frames.encode(value), now_s)))

    def feed_events(self, call: int, texts: list[str], *, now_s: float = 0.0) -> list[frames.Want]:
        return frames.decode_wants(self.step(frames.events(call, frames.encode(texts), now_s)))

    def kill(self, reason: str) -> list[frames.Want]:
        """Ends the VM: every later message is answered with this reason."""
        self._dead = self._dead or ("killed", reason)
        return frames.decode_wants(frames.broken(0, *self._dead))


def open_spec(limits: Limits, seed: tuple[int, int] = (1, 2)) -> frames.OpenVM:
    """The OpenVM of these limits."""
    return frames.OpenVM(limits.memory_bytes, limits.cpu_s, limits.output_bytes, limits.value_bytes, *seed)
