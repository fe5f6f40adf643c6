"""The floor of sessions: ten megabytes of history to text and back, and onto the disk."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Figure, Report

from luahost.cli.given import SessionsFile
from luahost.ops.sessions.store import Store

MESSAGE = 'A turn of a conversation, with "quotes", a line end,\nand some words that are not ASCII: größer, 漢字. '


def history(size: int) -> str:
    """A dump of about `size` bytes: conversations of twenty turns of about a kilobyte."""
    turns = [{"role": "system", "content": "You are a benchmark."}]
    for number in range(20):
        turns.append({"role": ("user", "assistant")[number % 2], "content": f"{number}: " + MESSAGE * 9})
    one = len(json.dumps(turns, ensure_ascii=False).encode())
    dump = {f"sess-{number:08}": turns for number in range(max(1, size // one))}
    return json.dumps(dump, ensure_ascii=False, separators=(",", ":"))


def measure(report: Report, *, quick: bool) -> None:
    size, rounds = (2_000_000, 3) if quick else (10_000_000, 9)
    text = history(size)
    store = Store()
    report.expect(store.load(text) == text.count('"sess-'), "not every session was loaded")
    report.expect(store.dump() == text, "a dump that is loaded and dumped again is another text")
    raw = json.loads(text)
    rates: dict[str, list[float]] = {"dump": [], "load": [], "json.dumps": [], "json.loads": []}
    acts: dict[str, Callable[[], Any]] = {
        "dump": store.dump,
        "load": lambda: Store().load(text),
        "json.dumps": lambda: json.dumps(raw, ensure_ascii=False),
        "json.loads": lambda: json.loads(text),
    }
    megabytes = len(text.encode()) / 1e6
    for _ in range(rounds):
        for name, act in acts.items():
            used = time.process_time()
            act()
            rates[name].append(megabytes / (time.process_time() - used))
    for name, least in (("dump", 400), ("load", 250)):
        figure = Figure(rates[name])
        report.row(f"session {name} in the host", figure.show("MB/s"), f"≥ {least} MB/s", figure.median >= least)
    for name in ("json.dumps", "json.loads"):
        report.row(f"    {name} of the same", Figure(rates[name]).show("MB/s"))
    cpu, wall = [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        file = SessionsFile(Path(directory) / "sessions.json")
        for _ in range(rounds):
            used, began = time.process_time(), time.perf_counter()
            file.write(store.dump())
            cpu.append((time.process_time() - used) * 10 / megabytes)
            wall.append((time.perf_counter() - began) * 10 / megabytes)
        report.expect(Path(directory, "sessions.json").read_text() == text + "\n", "what was saved is another text")
    figure = Figure(cpu)
    report.row(
        "10 MB of sessions saved durably (fsync): CPU", figure.show("ms", 1e3), "≤ 30 ms", figure.median <= 0.03
    )
    report.row("    by the wall clock", Figure(wall).show("ms", 1e3))
