"""The host's end of the zygote: start it, have it fork, have it bury.

The other end and the protocol are luahost/worker/zygote.py's. Started without waiting: it boots while the
host still imports the rest. Every exchange is short and shielded: a cancelled caller must not leave half an
answer in the socket. trio comes with the first exchange, so the process can be started before it is imported.
"""

from __future__ import annotations

import logging
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Literal

from luahost.errors import HostFault

if TYPE_CHECKING:
    import trio

# The worker program imports from here and is never imported: these are its constants, spelt again.
_REQUEST = struct.Struct("<Bqq")
_ANSWER = struct.Struct("<Bq")
_FORK, _BURY = 1, 2
_READY, _FORKED, _BURIED, _FAILED = 1, 2, 3, 4

_log = logging.getLogger("luahost.workers")
_told: set[tuple[str, ...]] = set()  # what is missing is said once in a process

ANSWER_S = 20.0
"""How long the zygote may take for one answer; a fork takes half a millisecond."""

# -I: no PYTHON* variables, no user site, no current directory; -S: no site; the host's path is handed over instead.
_PROGRAM = """\
import socket, struct, sys
sys.path[:] = sys.argv[2:]
try:
    from luahost.worker.{program} import main
except BaseException as error:
    told = struct.pack("<Bq", 4, 0) + (type(error).__name__ + ": " + str(error)).encode()
    socket.socket(fileno=int(sys.argv[1])).sendall(told)
    raise
main(int(sys.argv[1]))
"""


class ZygoteLost(Exception):
    """The zygote is gone; a new one is needed."""


class Zygote:
    """A running zygote process. Not shared between event loops."""

    def __init__(self, program: Literal["zygote", "probe"] = "zygote") -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            path = [entry for entry in sys.path if entry]
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-IS" if not sys.dont_write_bytecode else "-ISB",
                    "-c",
                    _PROGRAM.format(program=program),
                    str(theirs.fileno()),
                    *path,
                ],
                env={},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C on a terminal is for the host, which then ends the workers
            )
        ours.setblocking(False)
        self._control = ours
        self._lock: trio.Lock | None = None
        self._ready = False
        self.filtered: bool | None = None  # whether workers run under the seccomp filter; None: not known yet
        self.unprivileged: bool | None = None  # whether they run as another user than root
        self.landlock: int | None = None  # the ABI of the Landlock they run under, 0: without
        self.alive = True

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, address_space_bytes: int) -> tuple[int, socket.socket]:
        """A new worker: its pid and the host's end of its socket, non-blocking."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                verb, value = await self._exchange(_REQUEST.pack(_FORK, 0, address_space_bytes), theirs)
        except BaseException:
            ours.close()
            raise
        if verb != _FORKED:
            ours.close()
            raise HostFault(f"no worker process could be forked: errno {value}")
        ours.setblocking(False)
        return value, ours

    async def bury(self, pid: int) -> int:
        """Reaps a worker that was killed or ended; its wait status, -1 when it is not known."""
        try:
            _, status = await self._exchange(_REQUEST.pack(_BURY, pid, 0), None)
        except ZygoteLost:
            return -1
        return status

    def close(self) -> None:
        """Ends the zygote, and with it every worker that is left."""
        self.alive = False
        self._control.close()
        self._process.kill()
        self._process.wait()

    async def _exchange(self, request: bytes, passed: socket.socket | None) -> tuple[int, int]:
        import trio

        if self._lock is None:
            self._lock = trio.Lock()
        async with self._lock:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ANSWER_S):
                if not self._ready:
                    await self._read_ready()
                try:
                    if passed is not None:
                        socket.send_fds(self._control, [request], [passed.fileno()])
                    else:
                        self._control.send(request)
                except OSError as error:
                    raise self._lost(str(error)) from None
                return _ANSWER.unpack(await self._read(_ANSWER.size))
            raise self._lost(f"no answer in {ANSWER_S:g} s")

    async def _read_ready(self) -> None:
        verb, kernel = _ANSWER.unpack(await self._read(_ANSWER.size))
        if verb == _FAILED:
            why = (await self._read_all()).decode(errors="replace").strip().splitlines()
            self._lost("")
            raise HostFault(f"the zygote could not boot: {why[-1] if why else 'no reason given'}")
        self._ready = True
        # worker/confine.py, Kernel.number
        self.filtered, self.unprivileged, self.landlock = bool(kernel & 1), bool(kernel & 2), kernel >> 8
        self._tell_what_is_missing()

    def _tell_what_is_missing(self) -> None:
        missing = {
            "no seccomp filter (any system call)": self.filtered,
            "no Landlock (files and sockets are kept away by the filter alone)": self.landlock,
            "no other user than root": self.unprivileged,
        }
        left_out = tuple(what for what, there in missing.items() if not there)
        if left_out and left_out not in _told:
            _told.add(left_out)
            _log.warning("the cage of the workers lacks: %s; `luahost doctor` says more", "; ".join(left_out))

    async def _read(self, size: int) -> bytes:
        import trio

        data = b""
        while len(data) < size:
            try:
                part = self._control.recv(size - len(data))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._control)
                continue
            except OSError as error:
                raise self._lost(str(error)) from None
            if not part:
                raise self._lost("it closed its socket")
            data += part
        return data

    async def _read_all(self) -> bytes:
        data = b""
        while True:
            try:
                data += await self._read(1)
            except ZygoteLost:
                return data

    def _lost(self, why: str) -> ZygoteLost:
        if self.alive:
            self.close()
        return ZygoteLost(f"the zygote is gone: {why}")
