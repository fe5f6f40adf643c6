"""The worker's whole life: frame in, a step of its VM, frame out.

Knows VMs by number and nothing of what they want. Ends when the host closes the socket.
"""

from __future__ import annotations

import socket
import time

from luahost.vm import frames
from luahost.vm.stepper import Stepper
from luahost.worker.confine import CpuGuard


class Outlet:
    """Where a VM's output goes: frames of its own number. Made before the fork, bound after it."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._vm = 0

    def bind(self, sock: socket.socket, vm: int) -> None:
        self._sock, self._vm = sock, vm

    def post(self, kind: bytes, text: bytes) -> None:
        if self._sock is not None:
            self._sock.sendall(frames.frame(frames.OUTPUT, self._vm, kind + b"\0" + text))


class Prepared:
    """A VM that is booted and has not met a script."""

    def __init__(self) -> None:
        self.outlet = Outlet()
        self.vm = Stepper(self.outlet.post)


def run(sock: socket.socket, prepared: Prepared | None, many: bool) -> None:
    """Serves VMs until the host goes away; `prepared` becomes the first of them.

    Where `many` will come, the next is booted when a step is answered, not when somebody waits for it.
    """
    reader = frames.FrameReader(frames.LARGEST)  # the host is trusted
    vms: dict[int, tuple[Stepper, float]] = {}
    took_s: dict[int, float] = {}  # what each VM's last step cost, the way of its messages included
    guard = CpuGuard()
    # The thread's clock: the process's moves on in ticks of milliseconds once CpuGuard has set a limit.
    at_s = time.thread_time()
    while data := sock.recv(1 << 18):
        for kind, vm, payload in reader.feed(data):
            if kind == frames.STEP:
                stepper, cpu_s = vms[vm]
                guard.allow(at_s, cpu_s)
                sock.sendall(frames.frame(frames.STEPPED, vm, stepper.step(payload, took_s.get(vm))))
                took_s[vm] = time.thread_time() - at_s
                if many and prepared is None:
                    prepared = Prepared()
            elif kind == frames.OPEN:
                first = prepared or Prepared()
                prepared = None
                first.outlet.bind(sock, vm)
                spec = frames.OpenVM.unpack(payload)
                first.vm.open(spec)
                vms[vm] = (first.vm, spec.cpu_s)
            elif kind == frames.CLOSE:
                vms.pop(vm, None)
                took_s.pop(vm, None)
            at_s = time.thread_time()
