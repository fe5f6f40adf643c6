"""The machine: the stepper with typed verbs, for tests and the curious. Knows no process, no clock, no operation.

Host calls leave as Call, and the answer comes back through feed(); in between the VM sleeps and nothing here waits.
"""

from __future__ import annotations

from luahost.values import Limits, Value
from luahost.vm import frames, protocol
from luahost.vm.stepper import Stepper


class Machine(Stepper):
    """One VM."""

    def load(
        self, source: bytes, *, name: str = "script", input: Value = None, task: int = 1
    ) -> list[protocol.Want]:
        spec = {"source": source, "name": name, "input": input}
        return self.start("load", spec, task=task)

    def start(self, entry: str, arg: Value = None, *, task: int = 1, now_s: float = 0.0) -> list[protocol.Want]:
        return protocol.decode_wants(self.step(protocol.start(task, entry, arg, now_s)))

    def feed(self, call: int, value: Value, *, now_s: float = 0.0) -> list[protocol.Want]:
        return protocol.decode_wants(self.step(protocol.reply(call, protocol.encode(value), now_s)))

    def feed_events(self, call: int, texts: list[str], *, now_s: float = 0.0) -> list[protocol.Want]:
        return protocol.decode_wants(self.step(protocol.events(call, protocol.encode(texts), now_s)))

    def kill(self, reason: str) -> list[protocol.Want]:
        """Ends the VM: every later message is answered with this reason."""
        return protocol.decode_wants(self._last_words(*(self._dead or (b"killed", reason))))


def opened(limits: Limits) -> Machine:
    """A machine with these limits, ready to load."""
    machine = Machine()
    machine.open(open_spec(limits))
    return machine


def open_spec(limits: Limits, seed: tuple[int, int] = (1, 2)) -> frames.OpenVM:
    """The OpenVM of these limits."""
    return frames.OpenVM(limits.memory_bytes, limits.cpu_s, limits.output_bytes, limits.value_bytes, *seed)
