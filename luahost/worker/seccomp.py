"""The system calls a worker may still make: read and write its socket, manage memory, look at clocks, end.

Everything else fails with EPERM: no open, no socket, no fork, no exec, no kill, no ptrace; and no memory that can
be executed. A seccomp filter cannot be taken off again. Numbers are the kernel's, one table for each machine;
on others there is no filter, and `install` says so.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data; arguments follow from 16 on
_PROT_EXEC = 4

# What each is for: the socket; memory; locks; clocks; signals of the C library; random; the end.
_NAMES = (
    *("read", "write", "recvfrom", "sendto", "recvmsg", "sendmsg", "close"),
    *("munmap", "mremap", "brk", "madvise"),
    *("futex", "sched_yield"),
    *("clock_gettime", "getrusage", "gettimeofday"),
    *("rt_sigreturn", "rt_sigprocmask", "sigaltstack"),
    *("getrandom", "exit", "exit_group"),
    *("mmap", "mprotect", "prlimit64"),
)

_TABLES: dict[str, tuple[int, tuple[int, ...]]] = {
    # machine: (AUDIT_ARCH_…, numbers of _NAMES)
    "x86_64": (
        0xC000003E,
        (0, 1, 45, 44, 47, 46, 3, 11, 25, 12, 28, 202, 24, 228, 98, 96, 15, 14, 131, 318, 60, 231, 9, 10, 302),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(63, 64, 207, 206, 212, 211, 57, 215, 216, 214, 233, 98, 124, 113, 165, 169),
            *(139, 135, 132, 278, 93, 94, 222, 226, 261),
        ),
    ),
}


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


def program() -> bytes | None:
    """The filter as the kernel reads it; None where this machine has no table."""
    if sys.platform != "linux" or platform.machine() not in _TABLES:
        return None
    machine, numbers = _TABLES[platform.machine()]
    by_name = dict(zip(_NAMES, numbers, strict=True))
    code = [
        _instruction(_LOAD, _MACHINE),
        _instruction(_EQUAL, machine, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, 0x40000000, 0, 1),  # x32 numbers, on x86
        _instruction(_RETURN, _REFUSE),
    ]
    for name, number in by_name.items():
        if name in ("mmap", "mprotect"):  # never executable: argument 2 is the protection
            code += [
                _instruction(_EQUAL, number, 0, 4),
                _instruction(_LOAD, 16 + 8 * 2),
                _instruction(_ANY_BIT, _PROT_EXEC, 0, 1),
                _instruction(_RETURN, _REFUSE),
                _instruction(_RETURN, _ALLOW),
            ]
        elif name == "prlimit64":  # of this process only: argument 0 is the pid
            code += [
                _instruction(_EQUAL, number, 0, 4),
                _instruction(_LOAD, 16),
                _instruction(_EQUAL, 0, 0, 1),
                _instruction(_RETURN, _ALLOW),
                _instruction(_RETURN, _REFUSE),
            ]
        else:
            code += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
    return b"".join([*code, _instruction(_RETURN, _REFUSE)])


def install(libc: ctypes.CDLL, filter_: bytes | None) -> bool:
    """Puts the filter on this process, for good; needs no_new_privs. False where there is none to put."""
    if filter_ is None:
        return False
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    # struct sock_fprog: how many instructions, where they are
    head = struct.pack("HxxxxxxQ", len(filter_) // 8, ctypes.addressof(buffer))
    prog = ctypes.create_string_buffer(head, len(head))
    return int(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(prog), 0, 0)) == 0
