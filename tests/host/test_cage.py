"""The cage from inside: native code in a worker's place gains nothing from the system."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trio_tests import in_trio

from luahost import Host, Limits, Source
from luahost.worker import confine, seccomp

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or seccomp.program() is None or not confine.can_filter(),
    reason="this kernel takes no seccomp filter",
)

NOTHING, GAINED = 0, 42


def caged(act: Callable[[], object], *, closed: bool = True) -> int:
    """Runs native code in a child that stepped into the cage; how it ended: NOTHING, GAINED or a signal."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = NOTHING
        try:
            if closed:
                confine.drop_descriptors(theirs.fileno())
                confine.limit(0)
                confine.close_the_cage()
            act()
            status = GAINED
        except BaseException:
            status = NOTHING
        finally:
            os._exit(status)
    ours.close()
    theirs.close()
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


LIBC = ctypes.CDLL(None, use_errno=True)
PARENT = os.getpid()


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
HARMLESS_OUTSIDE = {"opens a file", "lists a directory", "makes a socket", "makes a pipe", "changes its directory"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the calls are spelt by x86-64 numbers")
@pytest.mark.parametrize("act", ACTS)
def test_native_code_in_the_cage_gains_nothing(act: str) -> None:
    assert caged(ACTS[act]) == NOTHING


@pytest.mark.parametrize("act", sorted(HARMLESS_OUTSIDE))
def test_and_the_same_code_outside_of_it_does(act: str) -> None:
    assert caged(ACTS[act], closed=False) == GAINED


def test_the_cage_cannot_be_opened_again() -> None:
    assert caged(lambda: must(LIBC.prctl(22, 0, 0, 0, 0))) == NOTHING
    assert caged(lambda: must(LIBC.prctl(38, 0, 0, 0, 0))) == NOTHING


def test_ordinary_work_goes_on_in_the_cage() -> None:
    def work() -> None:
        import hashlib
        import time

        data = bytearray(64 << 20)  # memory comes and goes
        del data
        time.process_time()
        assert hashlib.sha256(b"x").hexdigest()

    assert caged(work) == GAINED


@in_trio
async def test_every_worker_is_in_the_cage() -> None:
    async with Host() as host:
        for isolation in ("vm", "shared"):
            vm = await host.load(Source("return 1"), limits=Limits(isolation=isolation))
            status = Path(f"/proc/{vm._port.worker.pid}/status").read_text()
            assert "Seccomp:\t2" in status
            assert "NoNewPrivs:\t1" in status
        assert host._pool._zygote.filtered is True


@in_trio
async def test_a_worker_out_of_memory_ends_as_its_own_loss_inside_the_cage() -> None:
    async with Host() as host:
        vm = await host.load(
            Source("return function() local t = {} for i = 1, 4e5 do t[i] = {i} end return #t end")
        )
        assert await vm.run() == 400_000
