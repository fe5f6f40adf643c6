"""`make bench` runs, checks the answers it measures with, and prints figures. What the figures are is its own affair."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment

BENCH = Path(__file__).resolve().parent / "bench"


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
def test_the_benchmarks_run_without_a_failed_call_and_print_figures_beside_targets() -> None:
    done = bench("vm", "calls", "sessions", "lua", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in done.stdout
    for what, measured in (
        ("a VM in its own worker, caged and ready to run", r"[\d.]+ ms, p95 [\d.]+ ms +≤ 3 ms +(yes|NO)$"),
        ("one system call (orcs.now) there and back: CPU of the host", r"[\d.,]+ µs \(.+\) +≤ 100 µs +(yes|NO)$"),
        ("CPU of luahost's host per call ÷ bare httpx on trio, 100 at a time", r"[\d.,]+ × +≤ 0.2 × +(yes|NO)$"),
        ("session dump in the host", r"[\d.,]+ MB/s \(.+\) +≥ 400 MB/s +(yes|NO)$"),
        ("tight loops in the sandbox ÷ bare lupa, median of 4 kinds", r"[\d.]+ × \([\d.]+\) +≤ 2.5 × +(yes|NO)$"),
    ):
        assert re.search(f"^{re.escape(what)} +{measured}", done.stdout, re.MULTILINE), (what, done.stdout)


def test_a_floor_that_does_not_exist_is_a_usage_error() -> None:
    done = bench("attic")
    assert done.returncode == 2
    assert "no such floor: attic; there are vm, calls" in done.stderr
