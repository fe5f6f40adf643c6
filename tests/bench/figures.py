"""What all floors share: rows of the report, clocks of other processes, memory, how late a loop is, the server.

Everything is measured as CPU of one named process (host, worker, server), never of all together, and as the
median of rounds that take turns. Linux: another process's CPU clock and memory are read the kernel's way.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent

PROMPT = "What does a benchmark say when it is asked how long it takes? Answer in one short sentence, please."
ANSWER = "It says what it was told to measure, on the machine it was told to use, and nothing else; " * 2
EVENT_TEXT = "token "
"""The text of one streamed event; the event around it has EVENT_BYTES."""
EVENT_BYTES = 330


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """One line of the table. `ok` is None where there is no target."""

    what: str
    measured: str
    target: str = ""
    ok: bool | None = None


class Report:
    """The rows of one floor, and what went wrong on the way: a call that failed is an error, a missed target is not."""

    def __init__(self, floor: str) -> None:
        self.floor = floor
        self.rows: list[Row] = []
        self.errors: list[str] = []

    def row(self, what: str, measured: str, target: str = "", ok: bool | None = None) -> None:
        self.rows.append(Row(what, measured, target, ok))

    def error(self, text: str) -> None:
        self.errors.append(f"{self.floor}: {text}")

    def expect(self, true: bool, text: str) -> None:
        if not true:
            self.error(text)

    def to_json(self) -> str:
        return json.dumps({"floor": self.floor, "rows": self.rows, "errors": self.errors})

    @classmethod
    def from_json(cls, text: str) -> Report:
        data = json.loads(text)
        report = cls(data["floor"])
        report.rows = [Row(*row) for row in data["rows"]]
        report.errors = data["errors"]
        return report


class Figure:
    """One figure, measured in several rounds: the median counts, the range shows how quiet the machine was."""

    def __init__(self, values: Iterable[float]) -> None:
        self.values = sorted(values)
        self.median = statistics.median(self.values) if self.values else float("nan")

    def at(self, share: float) -> float:
        return percentile(self.values, share)

    def show(self, unit: str, scale: float = 1.0) -> str:
        text = f"{digits(self.median * scale)} {unit}"
        if len(self.values) > 1:
            text += f" ({digits(self.values[0] * scale)}–{digits(self.values[-1] * scale)})"
        return text


def digits(value: float) -> str:
    """Three digits that count."""
    if value != value:
        return "?"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


# ── clocks, memory, descriptors ─────────────────────────────────────────────────────────────────────────


def raise_descriptors() -> None:
    """Thousands of sockets: the soft limit becomes the hard one, here and in the processes started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, its threads included, its children not; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid) << 3 | 2)
    except OSError:
        return 0.0


def cpu_of_all(pids: Iterable[int]) -> float:
    return sum(map(cpu_of, pids))


def descendants(pid: int) -> list[int]:
    """Pids of all processes below this one."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    except OSError:
        pass
    return found


def memory_of(pid: int, *fields: str) -> int:
    """Bytes of a process: the sum of fields of smaps_rollup ("Pss", or "Private_Clean" and "Private_Dirty").

    Workers cannot be looked into by an ordinary user: then it is what is resident and not shared with a file.
    """
    try:
        kilobytes = 0
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in fields:
                kilobytes += int(rest.split()[0])
        return kilobytes * 1024
    except PermissionError:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        return (resident - shared) * resource.getpagesize()
    except OSError:
        return 0


def private_bytes(pid: int) -> int:
    return memory_of(pid, "Private_Clean", "Private_Dirty")


def share_bytes(pid: int) -> int:
    """A process's memory with what it shares counted in parts, so that a sum over processes is right."""
    return memory_of(pid, "Pss")


# ── how late an event loop is ───────────────────────────────────────────────────────────────────────────


class Lateness:
    """A trio task that wants to run every `tick_s`, and how late it was.

    Ticks missed while the loop was held up count too, each with its own lateness: one hold-up of a second is
    200 late ticks and not one (else the percentile would not see it).
    """

    def __init__(self, tick_s: float = 0.005) -> None:
        self.tick_s = tick_s
        self.late_s: list[float] = []

    async def run(self) -> None:
        import trio

        due = time.perf_counter() + self.tick_s
        while True:
            await trio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            while due <= now:
                self.late_s.append(now - due)
                due += self.tick_s

    def at(self, share: float) -> float:
        return percentile(self.late_s, share)


# ── other processes ─────────────────────────────────────────────────────────────────────────────────────


class Talker:
    """A process of ours that is spoken to in lines of JSON."""

    def __init__(self, python: str, *words: str) -> None:
        paths = [str(TOP), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [python, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            text=True,
        )
        self.pid = self._process.pid

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended")
        return json.loads(line)

    def say(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def ask(self, **command: Any) -> dict[str, Any]:
        self.say(**command)
        return self.hear()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server(Talker):
    """The loopback server (server.py), and what it costs: it must not be what is measured."""

    def __init__(self) -> None:
        super().__init__(sys.executable, str(HERE / "server.py"))
        self.port = self.hear()["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._cpu_s = self._wall_s = 0.0
        self.shares: list[float] = []

    def begin(self) -> None:
        self._cpu_s, self._wall_s = cpu_of(self.pid), time.perf_counter()

    def end(self) -> float:
        """The share of one core the server used since begin()."""
        self.shares.append((cpu_of(self.pid) - self._cpu_s) / max(1e-9, time.perf_counter() - self._wall_s))
        return self.shares[-1]


class Contestant(Talker):
    """A client under test in a process of its own (contestants.py)."""

    def __init__(self, name: str, server: Server, python: str = sys.executable) -> None:
        super().__init__(python, str(HERE / "contestants.py"), name, server.url)
        self.name, self._server = name, server
        self.missing: str | None = self.hear().get("missing")
        if self.missing:
            self.close()

    def measured(self, **command: Any) -> dict[str, Any]:
        """One round; the server's share of a core is added."""
        self._server.begin()
        said = self.ask(**command)
        said["server_share"] = self._server.end()
        return said
