"""`python tests/fuzz [targets] [--seconds N] [--seed N]`: throws made-up input at what strangers can reach.

Targets share the seconds. One line for each: how many executions, what was found. A finding makes the exit status
1 and is printed with the input that shows it; mended, it becomes a case or a test. The same seed makes the same
input, as far as the time goes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "host"), str(TESTS / "attacks")]
from targets import TARGETS, Finding  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (60)")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    seed = time.time_ns() if given.seed is None else given.seed
    print(f"seed {seed}, {given.seconds:g} s for {len(names)} targets")
    executions = findings = 0
    for at, name in enumerate(names):
        share_s = given.seconds / len(names)
        began = time.monotonic()
        found: Finding | None = None
        try:
            done = TARGETS[name](random.Random(f"{seed}/{name}"), began + share_s)
        except Finding as finding:
            found, done = finding, finding.executions
        executions += done
        findings += found is not None
        took_s = time.monotonic() - began
        print(
            f"{at + 1:2} {name:<12} {done:>9} executions  {done / took_s:>8.0f}/s  {'FOUND' if found else 'nothing found'}"
        )
        if found is not None:
            print(found)
        sys.stdout.flush()
    print(f"{executions} executions, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
