"""`python tests/attacks/report.py [names]`: runs every attack once and says how each was contained.

By value: it ran to its end and got nothing. By error: it was refused. By in-VM kill: the VM's own limits ended it, and the
worker lived. By process kill: the host ended the worker. The last line is n/n; the exit status 1 when one is missing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import trio
from arena import LIMITS, PRELUDE, SECRET, Arena, Outcome

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = 2


def contained(outcome: Outcome, expect: list[str]) -> bool:
    in_time = outcome.wall_s < 2 * LIMITS.cpu_s
    return outcome.verdict in expect and in_time and SECRET not in outcome.text


def main() -> int:
    cases = sorted((HERE / "cases").glob("*.lua"))
    if sys.argv[1:]:
        cases = [path for path in cases if any(name in path.name for name in sys.argv[1:])]
    outcomes: dict[str, Outcome] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder)) as arena:

        async def fight_all() -> None:
            gate = trio.CapacityLimiter(SIDE_BY_SIDE)

            async def fight(path: Path) -> None:
                async with gate:
                    outcomes[path.name] = await arena.fight(PRELUDE + path.read_text(), path.name)

            async with trio.open_nursery() as nursery:
                for path in cases:
                    nursery.start_soon(fight, path)

        arena.call(fight_all)
        serves = arena.call(arena.two) == 2
        clean = not [said for said in arena.said if SECRET in said]
    held, groups = 0, Counter[str]()
    for path in cases:
        head = dict(
            line[3:].split(": ", 1)
            for line in path.read_text().splitlines()
            if line.startswith("-- ") and ": " in line
        )
        outcome = outcomes[path.name]
        ok = contained(outcome, head["expect"].split("|"))
        held += ok
        groups[outcome.how] += 1
        print(
            f"{path.stem:<42} {head['group']:<11} {outcome.verdict:<7} {outcome.how:<12} {outcome.wall_s:>5.2f} s"
            f"{'' if ok else '   NOT CONTAINED: ' + outcome.text[:200]}"
        )
    print(", ".join(f"{count} by {how}" for how, count in sorted(groups.items())))
    print(
        f"host and siblings {'serve' if serves else 'DO NOT SERVE'}, {'no secret came out' if clean else 'A SECRET CAME OUT'}"
    )
    print(f"contained: {held}/{len(cases)}, in {time.monotonic() - began:.0f} s")
    return 0 if held == len(cases) and serves and clean else 1


if __name__ == "__main__":
    sys.exit(main())
