"""The stepper: a Lua VM without any I/O, as the worker has it. One message in, the VM's wants out, both as bytes.

A VM that hit a limit or broke answers every later message with the same failure: it is never entered again. Knows
no process, no clock, no operation, and not what the bytes say: protocol.py has that, and no worker has protocol.py.
"""

from __future__ import annotations

from collections.abc import Callable

from luahost.vm import frames
from luahost.vm.sandbox import Sandbox


class Stepper:
    """One VM. `post(kind, text)` takes what it prints."""

    def __init__(self, post: Callable[[bytes, bytes], None] = lambda kind, text: None) -> None:
        self._sandbox = Sandbox(post)
        self._dead: tuple[bytes, str] | None = None
        self._memory_bytes = 0

    def open(self, spec: frames.OpenVM) -> None:
        self._memory_bytes = spec.memory_bytes
        self._sandbox.open(spec.pack(), spec.memory_bytes)

    def step(self, message: bytes, took_s: float | None = None) -> bytes:
        """One message in, encoded wants out. Never raises.

        `took_s`: CPU that the step before took, seconds, if the caller knows better than the VM.
        """
        if self._dead is None:
            try:
                if not self._sandbox.has_room_for(len(message)):
                    raise MemoryError
                return self._sandbox.step(message, took_s)
            except MemoryError:
                limit = f"the memory limit of {self._memory_bytes / 1048576:.4g} MiB is used up"
                self._dead = (b"memory", limit)
            except RuntimeError as error:
                self._dead = (b"broken", f"the VM broke: {error}")
        return self._last_words(*self._dead)

    def _last_words(self, kind: bytes, why: str) -> bytes:
        self._dead = (kind, why)
        return frames.broken(0, kind, why.encode())  # task 0 stands for all tasks of the VM
