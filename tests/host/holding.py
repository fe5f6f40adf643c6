"""How long the event loop is held in one pass, and a worker that was taken over and calls what it likes.

A pass of the loop lasts from one look at the sockets to the next. What counts is the CPU time of the loop's own
thread in it: another process that keeps the machine busy does not change that, and a script that holds the loop
does.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio

from luahost.vm import frames, protocol

pack = msgspec.msgpack.encode
STATS = [4, 0, 0, 0, 0]
LOADED = {"type": "table", "has": {"run": True}}


class Held(trio.abc.Instrument):
    """`worst_s`: the most CPU that one pass of this loop has taken. `with` inside trio."""

    def __init__(self) -> None:
        self.worst_s = self._began_s = 0.0

    def __enter__(self) -> Held:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        self._began_s = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        if self._began_s:
            self.worst_s = max(self.worst_s, time.thread_time() - self._began_s)


class Caller:
    """Stands where the zygote stands. Its workers load any script, and make these calls when it is run.

    `calls`: (op, encoded arguments) each. All go in one step. A run is over when `last` replies have come. They talk
    in threads of their own, with bytes that were made before, so that the loop's thread does no work for them.
    """

    alive = True
    pid = 0

    def __init__(self, calls: Sequence[tuple[str, bytes]], *, wait_for: int | None = None) -> None:
        self._calls, self._wait_for = calls, len(calls) if wait_for is None else wait_for
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads: dict[int, tuple[threading.Thread, ...]] = {}
        self.replies: list[bytes] = []

    async def fork(self, address_space_bytes: int) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - forks at once
        self._processes[process.pid] = process
        talks = threading.Thread(target=self._talk, args=(theirs,), daemon=True)
        ends = threading.Thread(target=self._end, args=(theirs, process), daemon=True)
        self._threads[process.pid] = (talks, ends)
        for each in (talks, ends):
            each.start()
        return process.pid, ours

    async def bury(self, pid: int) -> int:
        process = self._processes[pid]
        process.kill()
        for each in self._threads[pid]:
            each.join()
        return 9

    @staticmethod
    def _end(sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """A killed process's socket closes."""
        process.wait()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def _wanted(self) -> bytes:
        heads = [
            b"\x95\x00\x01" + pack(n) + b"\xc4" + bytes([len(op)]) + op.encode() + args
            for n, (op, args) in enumerate(self._calls, 1)
        ]
        return b"\xdd" + struct.pack(">I", len(heads) + 1) + b"".join(heads) + pack(STATS)

    def _talk(self, sock: socket.socket) -> None:
        wanted = self._wanted()
        reader = frames.FrameReader(frames.LARGEST)
        left, task = 0, 0
        try:
            while data := sock.recv(1 << 20):
                for kind, vm, payload in reader.feed(data):
                    if kind != frames.STEP:
                        continue
                    said = pack([STATS])
                    if payload[0] == protocol.START:
                        task = struct.unpack_from("<q", payload, 9)[0]
                        if payload[17 + 1 :].startswith(b"load"):
                            said = pack([[2, task, LOADED], STATS])
                        else:
                            left = self._wait_for
                            said = (
                                wanted.replace(b"\x95\x00\x01", b"\x95\x00" + pack(task)) if task != 1 else wanted
                            )
                    elif payload[0] == protocol.REPLY:
                        self.replies.append(payload)
                        left -= 1
                        if left == 0:
                            said = pack([[2, task, True], STATS])
                    elif payload[0] == protocol.EVENTS:
                        said = pack([[1, struct.unpack_from("<q", payload, 9)[0], True], STATS])
                    sock.sendall(frames.frame(frames.STEPPED, vm, said))
        except OSError:
            pass
        finally:
            sock.close()
