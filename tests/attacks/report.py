"""`python tests/attacks/report.py [names]`: lets every attack fight and says how each was contained.

By value: it ran to its end and got nothing. By error: it was refused. By in-VM kill: the VM's own limits ended it, and the
worker lived. By process kill: the host ended the worker. The last line is n/n; the exit status 1 when one is missing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "host")]

from arena import SECRET, Arena  # noqa: E402
from corpus import CASES  # noqa: E402


def main() -> int:
    cases = [case for case in CASES if not sys.argv[1:] or any(name in case.name for name in sys.argv[1:])]
    held, groups, late_s, began = 0, Counter[str](), 0.0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder)) as arena:
        for case in cases:
            fought = case.fight(arena)
            problems = case.problems(fought)
            held += not problems
            late_s = max(late_s, fought.seen.late_s)
            alone = fought.alone
            groups[alone.how] += 1
            print(
                f"{case.name:<42} {case.group:<11} {alone.verdict:<7} {alone.how:<12} {alone.wall_s:>5.2f} s "
                f"{'   NOT CONTAINED: ' + '; '.join(problems) if problems else ''}",
                flush=True,
            )
        clean = not [said for said in arena.said if SECRET in said]
    print(", ".join(f"{count} by {how}" for how, count in sorted(groups.items())))
    print(
        f"each fought alone, against the clock, and in a shared worker; the event loop was at most {late_s * 1000:.0f} ms late"
    )
    print("no secret came out" if clean else "A SECRET CAME OUT")
    print(f"contained: {held}/{len(cases)}, in {time.monotonic() - began:.0f} s")
    return 0 if held == len(cases) and clean else 1


if __name__ == "__main__":
    sys.exit(main())
