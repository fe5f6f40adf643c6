"""The cage a worker steps into before it sees a byte of script: no descriptors, no environment, rlimits.

What a kernel lacks is left out; `luahost doctor` will say so. Assume code execution inside: what is given up
here cannot be taken back from inside.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

from luahost.worker import seccomp

SOCKET_FD = 0
"""The worker's one descriptor: its end of the socket to the host."""

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4


def drop_descriptors(socket_fd: int) -> None:
    """Moves the socket to descriptor 0 and closes every other one."""
    if socket_fd != SOCKET_FD:
        os.dup2(socket_fd, SOCKET_FD)
    os.closerange(1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096))


def empty_environment() -> None:
    """Empties the environment, also what the C library put there (LC_CTYPE)."""
    for name in list(os.environ):
        del os.environ[name]


def die_with_parent(parent: int) -> None:
    """Linux: this process is killed when its parent ends, however that ends."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def limit(address_space_bytes: int) -> None:
    """Sets the rlimits; `address_space_bytes` is what may be mapped on top of what is now (0: no limit)."""
    for name, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),  # root is exempt: the kernel's rule
        (resource.RLIMIT_NOFILE, SOCKET_FD + 1),
    ):
        resource.setrlimit(name, (value, value))
    if address_space_bytes and sys.platform == "linux":
        total = mapped_bytes() + address_space_bytes
        resource.setrlimit(resource.RLIMIT_AS, (total, total))
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


_filter = seccomp.program()  # made once, in the zygote


def close_the_cage() -> bool:
    """The last step: from here on only the system calls of a worker. False where the kernel has no filter."""
    return seccomp.install(_libc, _filter)


def can_filter() -> bool:
    """Whether this kernel takes the filter: tried out in a child that does nothing else."""
    child = os.fork()
    if child == 0:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os._exit(0 if close_the_cage() else 1)
    return os.waitpid(child, 0)[1] == 0


_mapped = 0


def remember_mapped_bytes() -> None:
    """Reads the size of the address space; called while /proc can still be opened."""
    global _mapped  # noqa: PLW0603 - read once before the fork, used in every child
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            _mapped = int(statm.read().split()[0]) * resource.getpagesize()


def mapped_bytes() -> int:
    return _mapped


class CpuGuard:
    """The kernel's own stop-clock, behind the hook and the host's watchdog: SIGXCPU ends the process.

    RLIMIT_CPU counts whole seconds of the process's life, so it is moved on as activations come.
    """

    def __init__(self) -> None:
        self._soft = 0

    def allow(self, used_s: float, more_s: float) -> None:
        """Lets the process use `more_s` seconds of CPU from `used_s` on, rounded up, and one more."""
        wanted = int(used_s + more_s) + 2
        if wanted > self._soft:
            self._soft = wanted + 1
            resource.setrlimit(resource.RLIMIT_CPU, (self._soft, resource.RLIM_INFINITY))
