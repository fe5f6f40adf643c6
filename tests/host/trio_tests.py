"""Tests that need an event loop: `@in_trio` runs an async test, and nothing may be left behind by it."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from luahost import Config, Provider
from luahost.testing import EchoModel

LIMIT_S = 30.0


def in_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(LIMIT_S):
                await test(*args, **kwargs)

        before = descriptors()
        trio.run(bounded)
        assert descriptors() <= before, "descriptors were left open"
        assert not zombies(), "processes were left behind"

    return run


class Passes(trio.abc.Instrument):
    """How long the longest pass of this thread's event loop took, from one look at the sockets to the next.

    That is how late it can have been for anybody. What other processes did to it does not count: not the time in
    which this thread was ready and had no core. `with` inside trio.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    def __enter__(self) -> Passes:
        self._begin()
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)

    def _begin(self) -> None:
        self._began_s, self._without_core_s = time.perf_counter(), waited_for_a_core_s()

    def after_io_wait(self, timeout: float) -> None:
        self._begin()

    def before_io_wait(self, timeout: float) -> None:
        took_s = time.perf_counter() - self._began_s
        if took_s > self.longest_s:
            without_core_s = waited_for_a_core_s() - self._without_core_s
            self.longest_s = max(self.longest_s, took_s - without_core_s)


def waited_for_a_core_s() -> float:
    """How long this thread was ready to run and did not, since it began; 0.0 where the kernel does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def resident_bytes() -> int:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> list[int]:
    """Pids of this process's own children, dead ones included."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # threads come and go
            found += [int(pid) for pid in (thread / "children").read_text().split()]
    return found


def zombies() -> list[int]:
    dead = []
    for pid in children():
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                dead.append(pid)
        except FileNotFoundError:
            continue
    return dead


def library_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def echo_config(echo: EchoModel, **provider: Any) -> Config:
    """A configuration whose default provider is the echo server."""
    fields = {"name": "echo", "base_url": echo.url, "model": "echo"} | provider
    made = Provider(**fields)
    return Config(providers={**Config().providers, made.name: made}, provider=made.name)
