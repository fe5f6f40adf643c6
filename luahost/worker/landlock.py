"""Landlock: the kernel's own no to every file, TCP port, abstract socket and signal, beside the filter.

A ruleset that handles every right and has no rule grants nothing. Which rights there are to handle grows with the
kernel's ABI number: files from 1, moving them from 2, truncating from 3, TCP from 4, devices' ioctl from 5,
abstract sockets and signals from 6. It cannot be taken off again, and children keep it.

Source: linux/landlock.h, Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same number on every machine
_ASK_VERSION = 1

FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""From this ABI on there are so many rights on files; bits from 0."""
NET_ABI, NET_RIGHTS = 4, 0b11  # bind and connect, TCP
SCOPE_ABI, SCOPES = 6, 0b11  # abstract sockets, signals


def abi(libc: ctypes.CDLL) -> int:
    """The kernel's ABI number; 0 where there is no Landlock, or it is not switched on."""
    if sys.platform != "linux":
        return 0
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)))


def ruleset(version: int) -> bytes:
    """struct landlock_ruleset_attr: everything that this ABI can refuse."""
    files = max(count for since, count in FILE_RIGHTS.items() if since <= version)
    fields = [(1 << files) - 1]
    if version >= NET_ABI:
        fields.append(NET_RIGHTS)
    if version >= SCOPE_ABI:
        fields.append(SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)


class Fence:
    """What this kernel's Landlock can refuse, put together once; `version` 0: nothing."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self.version = abi(libc)
        self._libc = libc
        self._attributes = ruleset(self.version) if self.version else b""
        self._size = ctypes.c_size_t(len(self._attributes))

    def restrict(self) -> bool:
        """Puts it on this process, for good; needs no_new_privs and a free descriptor. False: it did not take."""
        if not self.version:
            return False
        fd = self._libc.syscall(_CREATE_RULESET, self._attributes, self._size, 0)
        if fd < 0:
            return False
        try:
            return int(self._libc.syscall(_RESTRICT_SELF, fd, 0)) == 0
        finally:
            os.close(fd)
