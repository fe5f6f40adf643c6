"""`luahost doctor`, the other half: what the cage lets through, tried from inside a real worker.

Takes the loop's place in a zygote of its own, and the way into the cage is the workers'. Each act is harmless and
says what came of it; nothing is concluded here. One byte from the host begins it, one line of JSON answers.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import socket
from collections.abc import Callable

import msgspec

from luahost.worker import loop, zygote

STEP_BYTES = 64 << 20
MOST_STEPS = 256  # 16 GiB of address space: there is no limit, then

_libc = ctypes.CDLL(None, use_errno=True)
_parent = 0


class Probed(msgspec.Struct, kw_only=True):
    """What a worker found. `tried`: act → "" when it succeeded, else why not; `mapped_bytes`: what it could map."""

    tried: dict[str, str]
    environment: int
    descriptors: list[int]
    mapped_bytes: int


def _trace_parent() -> None:
    seize = 0x4206
    if _libc.ptrace(seize, _parent, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _executable_memory() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _raise_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


ACTS: dict[str, Callable[[], object]] = {
    "open a file": lambda: os.close(os.open("/", os.O_RDONLY)),
    "make a socket": lambda: socket.socket().close(),
    "start a process": _fork,
    "signal its parent": lambda: os.kill(_parent, 0),
    "trace its parent": _trace_parent,
    "map executable memory": _executable_memory,
    "raise a limit": _raise_limit,
}


def _try(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:  # what Python makes of an EPERM for a limit
        return str(error)
    return ""


def _descriptors() -> list[int]:
    """The open ones, found without a system call that a worker has not: a read of nothing tells."""
    found = []
    for fd in range(256):
        try:
            os.read(fd, 0)
        except OSError as error:
            if error.errno == errno.EBADF:
                continue
        found.append(fd)
    return found


def _environment() -> int:
    """How many variables the C library knows, whatever Python thinks."""
    pointer = ctypes.POINTER(ctypes.c_char_p).in_dll(_libc, "environ")
    count = 0
    while pointer and pointer[count] is not None:
        count += 1
    return count


def _grow() -> int:
    held: list[mmap.mmap] = []
    try:
        while len(held) < MOST_STEPS:
            held.append(mmap.mmap(-1, STEP_BYTES))
    except (OSError, MemoryError):  # no more is to be had: how much there was is the answer
        pass
    size = len(held) * STEP_BYTES
    for each in held:
        each.close()
    return size


def run(sock: socket.socket, prepared: loop.Prepared | None, many: bool) -> None:
    """Stands where loop.run stands."""
    if not sock.recv(1):
        return
    probed = Probed(
        tried={name: _try(act) for name, act in ACTS.items()},
        environment=_environment() + len(os.environ),
        descriptors=_descriptors(),
        mapped_bytes=_grow(),
    )
    sock.sendall(msgspec.json.encode(probed) + b"\n")
    sock.recv(1)


def main(control_fd: int) -> None:
    global _parent  # noqa: PLW0603 - the zygote's pid; a worker has not got the call that would tell it
    _parent = os.getpid()
    zygote.main(control_fd, run)
