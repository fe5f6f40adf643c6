"""The corpus: one file per attack in cases/, its control of the same name in controls/.

An attack's head says its group, what may come of it (`expect`), why that is right (`correct`), and what it holds
besides a model, children and files (`holds`). A control is the harmless twin: what the attack does, with its one
forbidden step allowed or left out. It returns "CONTROL" in the same arena.
"""

from __future__ import annotations

import re
from pathlib import Path

from arena import ALONE, IN_TIME, SECRET, SHARED, SPARE_S, Arena, Fought, Outcome
from vitals import MEMORY, wait_for_a_quiet_machine

from luahost import Limits
from luahost.errors import Exhausted, Stopped

HERE = Path(__file__).resolve().parent
LATE = 2.0
"""A limit of CPU is a limit of time for a script that never waits: it may take so many times the limit."""
WAIT_S = 3.0
"""What others take that a script may wait for: children, servers, programs. The limit of wall clock is what ends that."""
WAITING = ("capability", "concurrency", "fs", "net", "exec")
TRIES = 3
MOST_TRIES = 10
STOLEN_S = 0.03
"""A fight for whose time the machine itself was away for so long, on all its cores together, does not count as a try."""
MACHINE = re.compile(
    rf"(alone|in time|shared): late, .*|the event loop was \d+ ms late|left behind: \d+ {MEMORY}", re.DOTALL
)
"""Problems that a busy machine can make."""
HOST_DETAIL = re.compile(r"site-packages|/usr/lib|/home/|/root/|/tmp/|\.py[\":]|Traceback \(most recent|lupa")


class Case:
    def __init__(self, name: str, text: str, control: str) -> None:
        self.name, self.text, self.control = name, text, control

    def __repr__(self) -> str:
        return self.name

    @property
    def group(self) -> str:
        return self._head("group")

    @property
    def expect(self) -> list[str]:
        return self._head("expect").split("|")

    @property
    def holds(self) -> str:
        return self._head("holds", "")

    def _head(self, name: str, absent: str | None = None) -> str:
        found = re.search(rf"^-- {name}: (.*)$", self.text, re.MULTILINE)
        assert found or absent is not None, f"{self.name} has no `-- {name}:` line"
        return found[1] if found else absent or ""

    def fight(self, arena: Arena, alone: Limits = ALONE) -> Fought:
        """All three fights. Again, where all that was wrong may come of a machine that is busy, or of an allocator
        that has grown once: what is really late, or leaks, is so each time.
        """
        tries = 0
        for _ in range(MOST_TRIES):
            fought: Fought = arena.call(arena.all_three, self.text, f"{self.name}.lua", self.holds, alone)
            problems = self.problems(fought, alone)
            tries += fought.seen.stolen_s < STOLEN_S
            if tries == TRIES or not problems or not all(map(MACHINE.fullmatch, problems)):
                break
            wait_for_a_quiet_machine()
        return fought

    def problems(self, fought: Fought, alone: Limits = ALONE) -> list[str]:
        """What was not as it must be; nothing when the attack was contained."""
        assert IN_TIME.wall_s is not None
        wait_s = WAIT_S if self.group in WAITING else 0.0
        found = [
            *self._of(fought.alone, "alone", self.expect, LATE * alone.cpu_s + wait_s),
            # Cut short, an honest computation is ended too.
            *self._of(fought.in_time, "in time", [*self.expect, "KILLED"], IN_TIME.wall_s + SPARE_S),
            *self._of(fought.shared, "shared", [*self.expect, "KILLED"], LATE * SHARED.cpu_s + SPARE_S + wait_s),
            *fought.seen.troubles,
            *fought.trespasses,
        ]
        if not fought.shared.neighbour and fought.shared.how != "process kill":
            found.append("shared: the neighbour did not live")
        return found

    @staticmethod
    def _of(outcome: Outcome, fight: str, expect: list[str], within_s: float) -> list[str]:
        found = []
        if outcome.verdict not in expect:
            found.append(f"{fight}: {'|'.join(expect)} expected, got {outcome}")
        if outcome.wall_s > within_s:
            found.append(f"{fight}: late, within {within_s:.2f} s expected: {outcome}")
        if SECRET in outcome.text:
            found.append(f"{fight}: the secret came out")
        if outcome.verdict == "ERROR" and (HOST_DETAIL.search(outcome.text) or not 0 < len(outcome.text) <= 8000):
            found.append(f"{fight}: an error that scripts should not see: {outcome.text[:300]}")
        if fight != "alone":
            ended = isinstance(outcome.again, Exhausted | Stopped)
            killed = outcome.verdict == "KILLED"
            # Cancelled in good time the VM may live on; ended by its own limits it must not.
            if not (ended if killed and (fight == "shared" or outcome.again != 42) else outcome.again == 42):
                found.append(f"{fight}: the same VM then said {outcome.again!r} to 41 + 1, after {outcome}")
        return found


CASES = [
    Case(path.stem, path.read_text(), (HERE / "controls" / path.name).read_text())
    for path in sorted((HERE / "cases").glob("*.lua"))
]
