"""`python tests/soak [--seconds N] [--vms N] [--seed N]`: prints the table, and what is wrong; then exits 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "host"), str(TESTS / "attacks")]
from soak import LATE, Soak, quantile  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--vms", type=int, default=50, help="at a time (50); two of five are honest")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    soak = Soak(given.seconds, given.vms, max(1, given.vms * 2 // 5), given.seed)
    soak.run(lambda line: print(line, flush=True))
    ended = ", ".join(f"{count} {verdict}" for verdict, count in soak.verdicts.most_common())
    print(f"hostile VMs: {soak.verdicts.total()} ({ended})")
    alone, beside = (
        [quantile(took, share) * 1e3 for share in (0.5, 0.95)] for took in (soak.alone_s, soak.beside_s)
    )
    print(
        f"honest runs: {len(soak.alone_s)} alone, p50 {alone[0]:.1f} ms, p95 {alone[1]:.0f} ms; "
        f"{len(soak.beside_s)} beside the hostile, p50 {beside[0]:.1f} ms, p95 {beside[1]:.0f} ms (≤ {LATE:g} × at p50)"
    )
    wrong = soak.verdict()
    print("\n".join(wrong) if wrong else "nothing grew, nobody was late, nothing is left")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
