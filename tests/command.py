"""The command: as a process that is run, or started and looked at with those it made; or its main() in this one.

Nothing is mocked in either. `luahost` is what a person meets; `said` is for the many cases of one claim, where
another process would only import everything once more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple
from unittest import mock

from luahost.cli import main
from luahost.testing import LoopbackServer

TOP = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "luahost"]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """A clean one: no key of the person who runs the tests, and this tree's luahost."""
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH", "")]))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": path, **more}


def luahost(*words: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(**(env or {})),
        input=stdin.encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def said(*words: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None) -> Ran:
    """What main() returns, and what it writes to the descriptors of its streams; its handlers of signals are undone."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(TemporaryFile("w+", encoding="utf-8", errors="surrogateescape")) for _ in range(3)
        ]
        streams[0].write(stdin), streams[0].seek(0)
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(mock.patch.dict(os.environ, environment(**(env or {})), clear=True))
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            stack.enter_context(mock.patch.object(sys, name, stream))
        try:
            code = main(list(words))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        written = []
        for stream in streams[1:]:
            stream.flush()
            written.append(os.pread(stream.fileno(), 1 << 20, 0).decode())
    return Ran(code, *written)


def start(*words: str, cwd: Path) -> subprocess.Popen[bytes]:
    """The command under way, its stdout and stderr as unbuffered pipes."""
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def descendants(pid: int) -> list[int]:
    """Pids of all processes below this one: the zygote and its workers."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def wait_gone(pids: list[int], limit_s: float = 2.0) -> list[int]:
    """The processes that are still there when the time is up."""
    until = time.monotonic() + limit_s
    left = pids
    while left and time.monotonic() < until:
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.005)
    return left


def config_for(server: LoopbackServer, path: Path, more: str = "") -> Path:
    """A configuration file whose default provider is this server."""
    path.write_text(f'provider = "echo"\n{more}\n[providers.echo]\nbase_url = "{server.url}"\nmodel = "echo"\n')
    return path
