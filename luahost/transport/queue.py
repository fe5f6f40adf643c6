"""Places: how many exchanges there may be at a time, and who is next when one ends.

The idea: callers wait in one line per owner. Owners that hold no place come first, the others take turns: a VM
with a thousand calls is one line among others. That alone would not do where all places are held for long, so
the last eighth of them is for owners that hold none: who comes new finds a place, however many calls another
has, and however slow its servers are.

Giving a place to who waits is one act: a cancel comes before it or after it, and loses none. No step looks at more
than one line. Knows no connection. Sources: max-min fairness (Bertsekas and Gallager, Data Networks, 6.5.2);
trio `_core/_parking_lot.py`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable

import trio

KEPT_SHARE = 8
"""One place in so many is for owners that hold none."""

Line = OrderedDict[trio.lowlevel.Task, None]
Lines = OrderedDict[Hashable, Line]  # whose turn is next comes first


class Places:
    """So many places. An owner is any token; who names none shares the line of None."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._kept = count // KEPT_SHARE
        self._held: Counter[Hashable] = Counter()
        self._new: Lines = OrderedDict()  # of owners that hold none
        self._others: Lines = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(len(line) for lines in (self._new, self._others) for line in lines.values())

    async def acquire(self, owner: Hashable) -> None:
        """Returns with a place, which `release` gives back."""
        # Where this holds nobody waits that could take it: `release` has seen to that.
        if self.free > (self._kept if self._held[owner] else 0):
            self._take(owner)
            return
        task = trio.lowlevel.current_task()
        self._lines_of(owner).setdefault(owner, OrderedDict())[task] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            lines = self._lines_of(owner)
            del lines[owner][task]
            if not lines[owner]:
                del lines[owner]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def release(self, owner: Hashable) -> None:
        self.free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
            if owner in self._others:
                self._new[owner] = self._others.pop(owner)
        while lines := self._served():
            following, line = lines.popitem(last=False)
            task, _ = line.popitem(last=False)
            self._take(following)
            if line:
                self._others[following] = line
            trio.lowlevel.reschedule(task)

    def _served(self) -> Lines | None:
        """The lines whose first is served now."""
        if self._new and self.free:
            return self._new
        return self._others if self.free > self._kept else None

    def _lines_of(self, owner: Hashable) -> Lines:
        return self._others if self._held[owner] else self._new

    def _take(self, owner: Hashable) -> None:
        self.free -= 1
        self._held[owner] += 1
