"""The cage a worker steps into before it sees a byte of script, layer over layer; none can be taken off inside.

    descriptors   its socket, and no other
    environment   empty
    privileges    no_new_privs; no capability; of a host that runs as root, the user `nobody` (as its zygote)
    Landlock      no file, no TCP, no signal to anybody outside (worker/landlock.py)
    rlimits       no new file or process, no file size, no locked memory; address space and CPU
    seccomp       the system calls of a worker (worker/seccomp.py), no executable memory
    death         with its parent, however that ends

Assume code execution inside. What a kernel lacks is left out and told to the host, which says it once;
`luahost doctor` tries each layer and says which holds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys

from luahost.worker import landlock, seccomp

SOCKET_FD = 0
"""The worker's one descriptor: its end of the socket to the host."""

NOBODY = 65534
"""User and group of the workers of a host that runs as root."""

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 1, 4, 38, 65
_CAPABILITY_VERSION_3 = 0x20080522
_LINUX = sys.platform == "linux"


class Kernel:
    """What this kernel, and the user we run as, let us do. As a number: how it is told to the host.

    filtered      it takes the seccomp filter
    unprivileged  workers do not run as root
    landlock      the ABI; 0: none
    """

    def __init__(self, filtered: bool = False, unprivileged: bool = False, landlock: int = 0) -> None:
        self.filtered, self.unprivileged, self.landlock = filtered, unprivileged, landlock

    def number(self) -> int:
        return self.filtered | self.unprivileged << 1 | self.landlock << 8


_filter = seccomp.Filter()  # made once, in the zygote
_fence = landlock.Fence(_libc)
_is_root = os.geteuid() == 0
_mapped = 0


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────────


def drop_descriptors(socket_fd: int) -> None:
    """Moves the socket to descriptor 0 and closes every other one."""
    if socket_fd != SOCKET_FD:
        os.dup2(socket_fd, SOCKET_FD)
    os.closerange(1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096))


def empty_environment() -> None:
    """Empties the environment, also what the C library put there (LC_CTYPE)."""
    for name in list(os.environ):
        del os.environ[name]


def close(parent: int, address_space_bytes: int = 0) -> Kernel:
    """All layers but the descriptors and the user, in the order in which none hinders the next; what took.

    `address_space_bytes` is what may be mapped on top of what is now; 0: no limit.
    """
    forbid_new_privileges()
    fenced = _fence.restrict()
    die_with_parent(parent)
    limit(address_space_bytes)
    return Kernel(_filter.install(_libc), not _is_root, _fence.version if fenced else 0)


def forbid_new_privileges() -> None:
    """No program that is executed gains rights; and nobody of the same user may look inside."""
    if _LINUX:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Linux: this process is killed when its parent ends, however that ends."""
    if _LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def limit(address_space_bytes: int) -> None:
    """Sets the rlimits."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,  # root is exempt: the kernel's rule
        resource.RLIMIT_NOFILE: SOCKET_FD + 1,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if _LINUX:
        limits |= {resource.RLIMIT_MSGQUEUE: 0, resource.RLIMIT_SIGPENDING: 0}
        if address_space_bytes:
            limits[resource.RLIMIT_AS] = _mapped + address_space_bytes
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))


# ── before the first worker ─────────────────────────────────────────────────────────────────────────────


def remember_mapped_bytes() -> None:
    """Reads the size of the address space; called while /proc can still be opened."""
    global _mapped  # noqa: PLW0603 - read once before the fork, used in every child
    if _LINUX:
        with open("/proc/self/statm") as statm:
            _mapped = int(statm.read().split()[0]) * resource.getpagesize()


def drop_privileges() -> None:
    """Root becomes nobody, if a worker that is nobody can still be killed by root; capabilities go in any case.

    For the zygote, which is everything's parent: what it gave up its workers never had.
    """
    global _is_root  # noqa: PLW0603 - decided once before the fork, holds in every child
    if _is_root and _can_kill_nobody():
        _become_nobody()
        _is_root = False
    if _LINUX:
        head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        _libc.capset(head, (ctypes.c_uint32 * 6)())


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _can_kill_nobody() -> bool:
    """Tried with a child: there is root without the right to become another, and root without CAP_KILL."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            _become_nobody()
            theirs.send(b"1")
            theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        can = ours.recv(1) == b"1"
        try:
            os.kill(child, signal.SIGKILL)
        except PermissionError:
            can = False
    os.waitpid(child, 0)
    return can


def try_out() -> Kernel:
    """What holds here: a child steps into the cage and says."""
    ours, theirs = socket.socketpair()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            drop_descriptors(theirs.detach())
            kept = socket.socket(fileno=SOCKET_FD)
            kept.send(close(parent).number().to_bytes(2, "little"))
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        number = int.from_bytes(ours.recv(2), "little")  # 0 when it died
    os.waitpid(child, 0)
    return Kernel(bool(number & 1), bool(number & 2), number >> 8)


def fence_zygote() -> None:
    """What the zygote can do without once it has booted; its workers inherit it, with a filter or without one."""
    forbid_new_privileges()
    _fence.restrict()
    if _LINUX:
        _libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0)  # Linux 6.3: no memory is both written and executed


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
