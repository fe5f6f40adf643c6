"""The system calls a worker may still make: read and write its socket, manage memory, look at clocks, end.

Everything else fails with EPERM: no open, socket, fork, exec, kill or ptrace, no descriptor sent or received; and
no memory that can be executed. Of what is left, the arguments are looked at where a call can do more than a worker
needs: no out-of-band data (CVE-2025-38236), no futex that passes on priorities (CVE-2014-3153), no other process's
clock or limits. A filter cannot be taken off again. Numbers are the kernel's, one table for each machine; on
others there is no filter, and `install` says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

# What each is for: the socket; memory; locks; clocks; signals of the C library; random; the end.
_NAMES = (
    *("read", "write", "recvfrom", "sendto", "close"),
    *("munmap", "mremap", "brk", "madvise"),
    *("futex", "sched_yield"),
    *("clock_gettime", "getrusage", "gettimeofday"),
    *("rt_sigreturn", "rt_sigprocmask", "sigaltstack"),
    *("getrandom", "exit", "exit_group"),
    *("mmap", "mprotect", "prlimit64"),
)

# What must hold of the arguments: (which, "is" one of these | "below" | "without" these bits, …).
_MUST: dict[str, tuple[tuple[int, str, tuple[int, ...]], ...]] = {
    "recvfrom": ((3, "is", (0,)),),  # flags
    "sendto": ((3, "is", (0,)),),
    "madvise": ((2, "is", (4, 8, 14, 15)),),  # DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE: what allocators say
    "futex": ((1, "is", (0, 1, 9, 10)),),  # WAIT, WAKE and their BITSET twins; its flags are taken off before
    "clock_gettime": ((0, "below", (16,)),),  # a negative number is the clock of another process
    "mmap": ((2, "without", (4,)),),  # PROT_EXEC
    "mprotect": ((2, "without", (4,)),),
    "prlimit64": ((0, "is", (0,)), (1, "is", (0,))),  # of this process, and only RLIMIT_CPU
}
_FUTEX_KIND = 0x7F  # without PRIVATE and CLOCK_REALTIME

_TABLES: dict[str, tuple[int, tuple[int, ...]]] = {
    # machine: (AUDIT_ARCH_…, numbers of _NAMES)
    "x86_64": (
        0xC000003E,
        (0, 1, 45, 44, 3, 11, 25, 12, 28, 202, 24, 228, 98, 96, 15, 14, 131, 318, 60, 231, 9, 10, 302),
    ),
    "aarch64": (
        0xC00000B7,
        (
            63,
            64,
            207,
            206,
            57,
            215,
            216,
            214,
            233,
            98,
            124,
            113,
            165,
            169,
            139,
            135,
            132,
            278,
            93,
            94,
            222,
            226,
            261,
        ),
    ),
}


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


def _checks(name: str) -> list[bytes]:
    """What comes when the number is this call's: every check that fails refuses, the end allows."""
    code: list[bytes] = []
    for argument, test, values in _MUST.get(name, ()):
        code.append(_instruction(_LOAD, _ARGUMENTS + 8 * argument))
        if name == "futex":
            code.append(_instruction(_AND, _FUTEX_KIND))
        if test == "is":
            left = len(values)
            for value in values:  # found: over the rest and the refusal
                code.append(_instruction(_EQUAL, value, left))
                left -= 1
        elif test == "below":
            code.append(_instruction(_AT_LEAST, values[0], 0, 1))
        else:
            code.append(_instruction(_ANY_BIT, values[0], 0, 1))
        code.append(_instruction(_RETURN, _REFUSE))
    return [*code, _instruction(_RETURN, _ALLOW)]


def program() -> bytes | None:
    """The filter as the kernel reads it; None where this machine has no table."""
    if sys.platform != "linux" or os.uname().machine not in _TABLES:
        return None
    machine, numbers = _TABLES[os.uname().machine]
    code = [
        _instruction(_LOAD, _MACHINE),
        _instruction(_EQUAL, machine, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, 0x40000000, 0, 1),  # x32 numbers, on x86
        _instruction(_RETURN, _REFUSE),
    ]
    for name, number in zip(_NAMES, numbers, strict=True):
        checks = _checks(name)
        code += [_instruction(_EQUAL, number, 0, len(checks)), *checks]
    return b"".join([*code, _instruction(_RETURN, _REFUSE)])


class Filter:
    """The program where the kernel can read it; made once, so that a fork has only to hand it over."""

    def __init__(self) -> None:
        code = program()
        self.exists = code is not None
        self._code = ctypes.create_string_buffer(code or b"", len(code or b""))
        # struct sock_fprog: how many instructions, where they are
        head = struct.pack("HxxxxxxQ", len(self._code) // 8, ctypes.addressof(self._code))
        self._prog = ctypes.create_string_buffer(head, len(head))
        self._at = ctypes.addressof(self._prog)

    def install(self, libc: ctypes.CDLL) -> bool:
        """Puts the filter on this process, for good; needs no_new_privs. False where there is none to put."""
        if not self.exists:
            return False
        return int(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_void_p(self._at), 0, 0)) == 0
