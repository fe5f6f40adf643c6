"""A worker's place, taken by native code: it has read the script, and does what its `run` is told to do.

It runs in a real worker of a real zygote under a real host; only `loop.run` is replaced. Layers of the cage can be
left out, so that a control shows that the act would do harm, and that each layer holds without the others. Each act
raises OSError (or dies) when it got nothing, and returns what it got.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from luahost.vm import frames, protocol
from luahost.worker import confine, zygote

LIBC = ctypes.CDLL(None, use_errno=True)
LOADED = {"type": "table", "has": {}}
STATS = protocol.Stats(0, 0, 0, 0)
Args = dict[str, Any]


def call(number: int, *args: Any) -> int:
    """A system call by its x86-64 number; OSError when it fails."""
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


# ── acts ────────────────────────────────────────────────────────────────────────────────────────────────


def executes(args: Args) -> None:
    LIBC.execve(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 1)(None))
    raise OSError(ctypes.get_errno(), "execve")


def executes_from_memory(args: Args) -> str:
    fd = call(319, b"x", 0)  # memfd_create
    os.write(fd, b"#!/bin/true\n")
    call(322, fd, b"", (ctypes.c_char_p * 1)(None), (ctypes.c_char_p * 1)(None), 0x1000)  # execveat
    return "executed"


def reads_memory(args: Args) -> str:
    """process_vm_readv of the address where the test keeps its secret."""
    size = len(args["secret"])
    buffer = ctypes.create_string_buffer(size)
    local = struct.pack("QQ", ctypes.addressof(buffer), size)
    remote = struct.pack("QQ", args["address"], size)
    call(310, args["host"], local, 1, remote, 1, 0)
    if buffer.raw.decode() != args["secret"]:
        raise OSError(errno.EFAULT, "something else")
    return buffer.raw.decode()


def reads_memory_file(args: Args) -> str:
    with open(f"/proc/{args['host']}/mem", "rb", buffering=0) as memory:
        memory.seek(args["address"])
        return memory.read(len(args["secret"])).decode()


def traces(who: str) -> Callable[[Args], object]:
    return lambda args: call(101, 0x4206, args[who], 0, 0)  # PTRACE_SEIZE


def signals(who: str) -> Callable[[Args], object]:
    return lambda args: os.kill(args[who], 0)


def forks_by(number: int, *args: Any) -> Callable[[Args], object]:
    def act(_: Args) -> None:
        if call(number, *args) == 0:
            os._exit(0)

    return act


def starts_a_thread(args: Args) -> None:
    try:
        threading.Thread(target=lambda: None).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None


def executable_memory(args: Args) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def makes_memory_executable(args: Args) -> None:
    """Writes a function that returns 42, and calls it."""
    place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    place.write(b"\xb8\x2a\0\0\0\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(place))
    call(10, address, 4096, 5)
    assert ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 42


def connects(args: Args) -> None:
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", args["port"]))


def binds(args: Args) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


def connects_to_abstract_socket(args: Args) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + args["abstract"])


def sends_a_descriptor(args: Args) -> None:
    """Its own socket, over its own socket."""
    sock = socket.socket(fileno=0)
    try:
        socket.send_fds(sock, [frames.frame(frames.OUTPUT, args["vm"], b"print\0")], [0])
    finally:
        sock.detach()


def receives_a_descriptor(args: Args) -> None:
    sock = socket.socket(fileno=0)
    try:
        sock.recvmsg(1, socket.CMSG_LEN(4), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return  # it may ask, there is only none
    finally:
        sock.detach()


def sends_out_of_band(args: Args) -> None:
    call(44, 0, b"x", 1, 1, 0, 0)


def duplicates_descriptors(args: Args) -> None:
    os.dup(0)


def raises_limit(name: int) -> Callable[[Args], object]:
    def act(args: Args) -> None:
        resource.setrlimit(name, (1 << 40, 1 << 40) if name == resource.RLIMIT_AS else (4096, 4096))

    return act


def grows_past_its_space(args: Args) -> int:
    """Address space until there is no more; more than a GiB is a gain."""
    held = []
    try:
        for _ in range(64):
            held.append(mmap.mmap(-1, 64 << 20))
    except (OSError, MemoryError):
        if len(held) < 16:
            raise OSError(errno.ENOMEM, f"after {len(held) * 64} MiB") from None
    return len(held)


def becomes_root(args: Args) -> None:
    os.setresuid(0, 0, 0)


def another_processs_clock(args: Args) -> float:
    return time.clock_gettime((~args["host"]) << 3 | 2)


ACTS: dict[str, Callable[[Args], object]] = {
    # files
    "opens a file": lambda a: os.open("/etc/passwd", os.O_RDONLY),
    "opens a file by openat2": lambda a: call(437, -100, b"/etc/passwd", struct.pack("QQQ", 0, 0, 0), 24),
    "opens a file by its handle": lambda a: call(304, -100, b"\x08\0\0\0\x01\0\0\0" + bytes(8), 0),
    "writes a file": lambda a: os.open(a["file"], os.O_WRONLY | os.O_CREAT, 0o600),
    "lists a directory": lambda a: os.listdir("/"),
    "asks about a file": lambda a: os.stat("/etc/passwd"),
    "removes a file": lambda a: os.unlink(a["victim"]),
    "renames a file": lambda a: os.rename(a["victim"], a["victim"] + "x"),
    "links a file": lambda a: os.symlink("/etc/passwd", a["file"]),
    "truncates a file": lambda a: os.truncate(a["victim"], 0),
    "changes its directory": lambda a: os.chdir("/"),
    "changes its root": lambda a: os.chroot("/"),
    "mounts": lambda a: call(165, b"none", b"/mnt", b"tmpfs", 0, 0),
    "makes a pipe": lambda a: os.pipe(),
    "makes a file in memory": lambda a: call(319, b"x", 0),
    "duplicates its socket": duplicates_descriptors,
    "reads its own environment's file": lambda a: Path("/proc/self/environ").read_bytes(),
    # network
    "makes a socket": lambda a: socket.socket(),
    "makes a pair of sockets": lambda a: socket.socketpair(),
    "connects": connects,
    "binds": binds,
    "connects to an abstract socket": connects_to_abstract_socket,
    "makes a netlink socket": lambda a: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "makes a raw packet socket": lambda a: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "sends a descriptor": sends_a_descriptor,
    "receives a descriptor": receives_a_descriptor,
    "sends out-of-band data": sends_out_of_band,
    # processes
    "forks": forks_by(57),
    "forks by vfork": lambda a: call(58),
    "clones": forks_by(56, 0x11, 0, 0, 0, 0),
    "clones by clone3": lambda a: call(435, struct.pack("8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64) or os._exit(0),
    "starts a thread": starts_a_thread,
    "executes a program": executes,
    "executes a program from memory": executes_from_memory,
    "signals the host": signals("host"),
    "signals the zygote": signals("zygote"),
    "signals another VM's worker": signals("sibling"),
    "signals everybody": lambda a: os.kill(-1, 0),
    "signals the host through a pidfd": lambda a: call(424, call(434, a["host"], 0), 0, 0, 0),
    "takes a descriptor of the host": lambda a: call(438, call(434, a["host"], 0), 0, 0),
    "traces the host": traces("host"),
    "traces the zygote": traces("zygote"),
    "traces another VM's worker": traces("sibling"),
    "reads the host's memory": reads_memory,
    "reads the host's memory through its file": reads_memory_file,
    "compares itself with the host": lambda a: call(312, os.getpid(), a["host"], 1, 0, 0),
    "advises on the host's memory": lambda a: call(440, call(434, a["host"], 0), struct.pack("QQ", 0, 0), 1, 4, 0),
    "changes the host's limits": lambda a: call(302, a["host"], 7, 0, ctypes.create_string_buffer(16)),
    "changes the host's priority": lambda a: os.setpriority(os.PRIO_PROCESS, a["host"], 0),
    "reads another process's clock": another_processs_clock,
    # itself
    "makes executable memory": executable_memory,
    "makes memory executable": makes_memory_executable,
    "makes memory executable with a key": lambda a: call(329, 0, 0, 4, -1),
    "changes its personality": lambda a: call(135, 0x0400000),
    "becomes root": becomes_root,
    "has capabilities": lambda a: call(126, struct.pack("II", 0x20080522, 0), b"\xff" * 24),
    "makes a namespace": lambda a: call(272, 0x10000000),
    "raises its limit of files": raises_limit(resource.RLIMIT_NOFILE),
    "raises its address space": raises_limit(resource.RLIMIT_AS),
    "grows past its address space": grows_past_its_space,
    "locks memory": lambda a: mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000),
    "puts another filter on itself": lambda a: call(317, 1, 0, struct.pack("HxxxxxxQ", 0, 0)),
    "outlives its parent": lambda a: call(157, 1, 0, 0, 0, 0),
    "lets others look inside": lambda a: call(157, 4, 1, 0, 0, 0),
    "switches system calls' meaning": lambda a: call(157, 59, 1, 0, 0, 0),
    # the kernel's large doors
    "asks for io_uring": lambda a: call(425, 1, ctypes.create_string_buffer(120)),
    "asks for userfaultfd": lambda a: call(323, 1),
    "loads bpf": lambda a: call(321, 5, struct.pack("IIQ", 1, 0, 0) + bytes(64), 72),
    "measures with perf": lambda a: call(298, struct.pack("II", 1, 112) + bytes(104), 0, -1, -1, 0),
    "adds a key": lambda a: call(248, b"user", b"x", b"x", 1, -1),
    "asks for keys": lambda a: call(250, 0, -3, 1),
    "makes a message queue": lambda a: call(68, 0, 0o1600),
    "shares memory": lambda a: call(29, 0, 4096, 0o1600),
    "changes the clock": lambda a: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "reads the kernel's log": lambda a: call(103, 10, 0, 0),
    "waits with a futex that lends priority": lambda a: call(
        202, ctypes.create_string_buffer(8), 6 | 128, 0, 0, 0, 0
    ),
    "merges its pages with others'": lambda a: call(28, _page(), 4096, 12),
    "calls by an x32 number": lambda a: call(0x40000000 + 39),
}


def _page() -> int:
    """The address of a page of its own, kept."""
    _pages.append(mmap.mmap(-1, 4096))
    return ctypes.addressof(ctypes.c_char.from_buffer(_pages[-1]))


_pages: list[mmap.mmap] = []


def ordinary_work(args: Args) -> str:
    data = bytearray(64 << 20)  # memory comes and goes
    del data
    time.process_time(), time.time(), os.urandom(8)
    confine.CpuGuard().allow(time.process_time(), 5)
    threading.Lock().acquire()
    return "done"


def sees(args: Args) -> dict[str, Any]:
    """What is in its hands without asking the kernel for anything."""
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBC, "environ")
    names = []
    at = 0
    while environ and environ[at] is not None:
        names.append(environ[at].decode())
        at += 1
    return {"environ": names + list(os.environ), "open": [fd for fd in range(64) if _is_open(fd)]}


def _is_open(fd: int) -> bool:
    """Without fstat, which it has not: reading nothing tells."""
    try:
        os.read(fd, 0)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


ACTS["does ordinary work"] = ordinary_work
ACTS["sees"] = sees


# ── what it says on its socket ──────────────────────────────────────────────────────────────────────────


def never_reads(sock: socket.socket, vm: int, task: int) -> None:
    """Asks for its sessions again and again, 60 at a time, and never takes an answer."""
    asked, answered = 0, 1  # steps: one is open, each answer opens another
    while True:
        for _ in range(answered):
            wants = [protocol.Call(task, asked + i, b"caps", msgspec.Raw(b"\xc0")) for i in range(60)]
            asked += 60
            sock.sendall(frames.frame(frames.STEPPED, vm, _encode([*wants, STATS])))
        answered = 60


def writes_without_end(sock: socket.socket, vm: int, task: int) -> None:
    while True:
        sock.sendall(frames.frame(frames.OUTPUT, vm, b"print\0" + b"x" * 4096))


def half_a_frame(sock: socket.socket, vm: int, task: int) -> None:
    sock.sendall(struct.pack("<IBI", 8 << 20, frames.OUTPUT, vm) + bytes(5 << 20))
    _spin()


def _spin() -> None:
    while True:
        pass


def small_calls_in_large_frames(sock: socket.socket, vm: int, task: int) -> None:
    """Each step asks to sleep, and brings 7 MiB of nonsense along in a second call that is refused at once."""
    reader = frames.FrameReader(frames.LARGEST)
    number = 0
    while True:
        number += 2
        sleep = protocol.Call(task, number, b"clock.sleep", msgspec.Raw(msgspec.msgpack.encode(20.0)))
        junk = protocol.Call(task, number + 1, b"caps", msgspec.Raw(msgspec.msgpack.encode(bytes(7 << 20))))
        sock.sendall(frames.frame(frames.STEPPED, vm, _encode([sleep, junk, STATS])))
        while not [frame for frame in reader.feed(sock.recv(1 << 18)) if frame[0] == frames.STEP]:
            pass


SPEECHES = {
    "never reads": never_reads,
    "writes without end": writes_without_end,
    "half a frame": half_a_frame,
    "small calls in large frames": small_calls_in_large_frames,
}

_encode = msgspec.msgpack.Encoder().encode


# ── the worker ──────────────────────────────────────────────────────────────────────────────────────────


def run(sock: socket.socket, prepared: object, many: bool) -> None:
    """Where loop.run would serve: answers the load, and does what `run` is told."""
    reader = frames.FrameReader(frames.LARGEST)
    while data := sock.recv(1 << 18):
        for kind, vm, payload in reader.feed(data):
            if kind != frames.STEP or payload[0] != protocol.START:
                continue
            task = struct.unpack_from("<q", payload, 9)[0]
            size = payload[17]
            entry, arg = payload[18 : 18 + size], protocol.decode(payload[18 + size :])
            value: Any = LOADED
            if entry == b"run" and arg["act"] in SPEECHES:
                SPEECHES[arg["act"]](sock, vm, task)
            elif entry == b"run":
                value = _done(arg["act"], arg | {"vm": vm})
            done = protocol.Done(task, msgspec.Raw(protocol.encode(value)))
            sock.sendall(frames.frame(frames.STEPPED, vm, _encode([done, STATS])))


def _done(act: str, args: Args) -> Args:
    try:
        got = ACTS[act](args)
    except (OSError, MemoryError) as error:
        return {"gained": False, "errno": getattr(error, "errno", 0) or 0, "said": str(error)}
    return {"gained": True, "got": got if isinstance(got, dict) else repr(got)}


def take_over(control_fd: int, without: str) -> None:
    """Stands in the loop's place, with some layers of the cage left out ("", "filter", "all")."""
    if without in ("filter", "all"):
        confine._filter.exists = False
    if without == "all":
        confine._fence.version = 0
        confine.limit = lambda space: None
        confine.drop_privileges = confine.fence_zygote = lambda: None
    zygote.main(control_fd, run)
