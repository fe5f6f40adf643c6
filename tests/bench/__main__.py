"""`python tests/bench [floors] [--quick] [--peers PYTHON]`: measures, and prints one table.

A floor is a file beside this one; each runs in a process of its own. Missing a target is a line of the report and
no error; a call that failed is one, and makes the exit status 1. --peers names the python of an environment that
has openai, anthropic, litellm, pydantic-ai, or some of them; `.venv-peers` is used when it is there (not by --quick).
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from figures import TOP, Report, Row, raise_descriptors

FLOORS = ("vm", "calls", "streams", "wires", "scale", "sessions", "startup", "lua")
WITH_PEERS = ("calls", "streams", "startup")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__.splitlines()[0])
    parser.add_argument("floors", nargs="*", metavar="floor", help=", ".join(FLOORS))
    parser.add_argument("--quick", action="store_true", help="less of everything; under half a minute")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with other clients")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = set(given.floors) - set(FLOORS)
    if unknown:
        parser.error(f"no such floor: {', '.join(sorted(unknown))}; there are {', '.join(FLOORS)}")
    if sys.platform != "linux":
        parser.error("needs Linux: it reads other processes' clocks and memory")
    raise_descriptors()
    peers = given.peers and os.path.abspath(given.peers)  # some floors run in a folder of their own
    peers = peers or (None if given.quick else _peers_at_hand())
    floors = [name for name in FLOORS if name in given.floors] or list(FLOORS)
    if given.json:
        print(_measure(floors[0], quick=given.quick, peers=peers).to_json())
        return 0
    began = time.perf_counter()
    reports = []
    for name in floors:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        reports.append(_in_its_own_process(name, given.quick, peers))
    _print(reports)
    _say_where(time.perf_counter() - began)
    errors = [error for report in reports for error in report.errors]
    for error in errors:
        print(f"error: {error}")
    return 1 if errors else 0


def _measure(name: str, *, quick: bool, peers: str | None) -> Report:
    report = Report(name)
    options = {"peers": peers} if name in WITH_PEERS else {}
    importlib.import_module(name).measure(report, quick=quick, **options)
    return report


def _in_its_own_process(name: str, quick: bool, peers: str | None) -> Report:
    words = [sys.executable, str(Path(__file__).resolve().parent), name, "--json"]
    words += ["--quick"] if quick else []
    words += ["--peers", peers] if peers else []
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}, check=False)
    if done.returncode == 0:
        return Report.from_json(done.stdout.decode())
    report = Report(name)
    report.error(f"ended with {done.returncode}")
    return report


def _peers_at_hand() -> str | None:
    python = TOP / ".venv-peers" / "bin" / "python"
    return str(python) if python.exists() else None


def _print(reports: list[Report]) -> None:
    head = Row("what", "measured", "target", None)
    every = [head, *(row for report in reports for row in report.rows)]
    widths = [max(len(str(row[column])) for row in every) for column in range(3)]
    said = {None: "", True: "yes", False: "NO"}

    def line(row: Row, ok: str) -> str:
        return "  ".join([*(row[column].ljust(widths[column]) for column in range(3)), ok]).rstrip()

    print(line(head, "ok?"))
    for report in reports:
        print(f"── {report.floor} ".ljust(sum(widths) + 9, "─"))
        for row in report.rows:
            print(line(row, said[row.ok]))
    print("─" * (sum(widths) + 9))


def _say_where(took_s: float) -> None:
    rows = "medians of rounds that take turns; in brackets the lowest and the highest"
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    print(f"{rows}. {where}, {took_s:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
