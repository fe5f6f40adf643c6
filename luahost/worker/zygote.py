"""The zygote: one small single-threaded process with a sealed VM already booted; a worker is a fork of it.

The host speaks to it over one socket, requests of fixed size, answered in order:

    FORK  (+ the worker's socket as a descriptor)   → FORKED, pid  | FAILED, errno
    BURY  pid                                       → BURIED, wait status

A dead worker stays a zombie until the host says BURY, so its pid cannot be reused and the host may signal it
without a race. When the host goes away the zygote ends, and its workers with it. Workers run no cleanup of
ours: they leave through os._exit.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

from luahost.worker import confine, loop

REQUEST = struct.Struct("<Bqq")  # verb, pid or 0, address space bytes
ANSWER = struct.Struct("<Bq")  # verb, pid or status or errno
FORK, BURY = 1, 2
READY, FORKED, BURIED, FAILED = 1, 2, 3, 4  # READY carries confine.Kernel.number()


Serve = Callable[[socket.socket, loop.Prepared, bool], None]


def _become_worker(fd: int, zygote: int, address_space: int, prepared: loop.Prepared, serve: Serve) -> None:
    """Never returns."""
    status = 1
    try:
        confine.drop_descriptors(fd)
        sock = socket.socket(fileno=confine.SOCKET_FD)
        confine.close(zygote, address_space)
        serve(sock, prepared, not address_space)  # no limit: any number of VMs may come
        status = 0
    finally:
        os._exit(status)


def _serve(control: socket.socket, prepared: loop.Prepared, serve: Serve) -> None:
    me = os.getpid()
    while True:
        data, fds, _, _ = socket.recv_fds(control, REQUEST.size, 1)
        if not data:
            return
        while len(data) < REQUEST.size:
            more = control.recv(REQUEST.size - len(data))
            if not more:
                return
            data += more
        verb, pid, address_space = REQUEST.unpack(data)
        if verb == FORK:
            try:
                child = os.fork()
            except OSError as error:
                control.sendall(ANSWER.pack(FAILED, error.errno or 0))
                child = -1
            if child == 0:
                _become_worker(fds[0], me, address_space, prepared, serve)
            for fd in fds:
                os.close(fd)
            if child > 0:
                control.sendall(ANSWER.pack(FORKED, child))
        else:
            try:
                _, status = os.waitpid(pid, 0)
            except ChildProcessError:
                status = -1
            control.sendall(ANSWER.pack(BURIED, status))


def main(control_fd: int, serve: Serve = loop.run) -> None:
    """Boots a VM, says READY, then forks on request until the host closes the socket; workers `serve`."""
    control = socket.socket(fileno=control_fd)
    try:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_DFL)
        confine.empty_environment()
        prepared = loop.Prepared()
        confine.remember_mapped_bytes()
        confine.drop_privileges()
        kernel = confine.try_out()
        confine.fence_zygote()
        gc.collect()
        gc.freeze()
        gc.disable()
    except BaseException:  # the host must learn why there is no zygote
        import traceback  # only for this: it is larger than the rest of this program

        control.sendall(ANSWER.pack(FAILED, 0) + traceback.format_exc().encode()[-4000:])
        raise
    control.sendall(ANSWER.pack(READY, kernel.number()))
    try:
        _serve(control, prepared, serve)
    except ConnectionError:  # the host is gone: so are we
        pass
    finally:
        sys.stdout = sys.stderr = None
        os._exit(0)
