"""A worker's place, taken by native code: steps into the cage, tries one act, and exits 42 if it gained anything.

Run as a program of its own (argv: the act, closed or open), because a fork of a test runner with threads may hang.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Callable

from luahost.worker import confine

NOTHING, GAINED = 0, 42

LIBC = ctypes.CDLL(None, use_errno=True)
PARENT = os.getppid()


def must(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno())


def execute() -> None:
    LIBC.execve(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 1)(None))
    raise OSError


def executable_memory() -> None:
    import mmap

    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def raised_limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))


ACTS: dict[str, Callable[[], object]] = {
    "opens a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "lists a directory": lambda: os.listdir("/"),
    "makes a socket": lambda: socket.socket(),
    "makes a pair of sockets": lambda: socket.socketpair(),
    "forks": lambda: must(LIBC.syscall(57)),
    "clones": lambda: must(LIBC.syscall(56, 0x11, 0, 0, 0, 0)),
    "executes a program": execute,
    "kills its parent": lambda: os.kill(PARENT, 0),
    "traces its parent": lambda: must(LIBC.ptrace(16, PARENT, 0, 0)),
    "reads its parent's memory": lambda: must(LIBC.syscall(310, PARENT, 0, 0, 0, 0, 0)),
    "makes executable memory": executable_memory,
    "unlinks a file": lambda: os.unlink("/tmp/luahost-no-such-file-" + "x"),
    "makes a pipe": lambda: os.pipe(),
    "changes its directory": lambda: os.chdir("/"),
    "changes another's limits": lambda: must(LIBC.syscall(302, PARENT, 7, 0, 0)),
    "mounts": lambda: must(LIBC.mount(b"none", b"/mnt", b"tmpfs", 0, None)),
    "makes a namespace": lambda: must(LIBC.unshare(0x10000000)),
    "asks for io_uring": lambda: must(LIBC.syscall(425, 1, 0)),
    "loads bpf": lambda: must(LIBC.syscall(321, 0, 0, 0)),
}
ACTS["puts another filter on itself"] = lambda: must(LIBC.prctl(22, 0, 0, 0, 0))
ACTS["takes back no_new_privs"] = lambda: must(LIBC.prctl(38, 0, 0, 0, 0))


def ordinary_work() -> None:
    import time

    data = bytearray(64 << 20)  # memory comes and goes
    del data
    time.process_time()


ACTS["does ordinary work"] = ordinary_work


def main(act: str, cage: str) -> None:
    status = NOTHING
    try:
        if cage == "closed":
            kept, _ = socket.socketpair()
            confine.drop_descriptors(kept.fileno())
            confine.limit(0)
            confine.close_the_cage()
        ACTS[act]()
        status = GAINED
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
