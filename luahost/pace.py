"""The pace: how long one pass of the event loop may take, and who goes on in the next.

The idea: a loop is late when much is ready at once, however short each thing is. So whoever has something to do for
a script asks for its turn first. While the pass has time left that costs nothing; then it waits in its owner's
line, and the next passes let the lines in, one after the other, a few each. Who comes to run and finds the pass
used up, because those before it took long, stands in front of its line again. So a pass takes its budget and one
act at most; a script that asks for a thousand things waits for itself, and others do not wait for it.

Knows no call, no worker, no connection. Sources: trio `_core/_run.py` (a batch runs every task that is ready);
deficit round robin (Shreedhar and Varghese, 1995), without the deficits.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, TypeVarTuple

import trio

from luahost import garbage
from luahost.parts import Parts

PASS_S = 0.005
"""What may begin within a pass begins so long after its start at the latest."""

ACT_S = 0.001
"""Who waited has its turn for so long: it need not wait between the steps of one act."""

LET_IN = 100
"""How many go on in one pass at most."""

ENDED_AT_ONCE = 24
"""How many calls are ended in one pass: their ends cannot be put off."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


_Entry = trio.lowlevel.Task | Callable[[], object]
_Line = OrderedDict[_Entry, None]


class Pace(trio.abc.Instrument):
    """One per event loop and host. Without `run` under way there is always time."""

    def __init__(self) -> None:
        self._ends_s = math.inf
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()  # whose turn is next comes first
        self._someone = trio.Event()
        self._may_go = False  # the first of those let in goes on whatever the others in the pass took
        self._went = 0  # how many of those let in went on in this pass
        self._fit = 8  # the same of the last pass in which any did
        self._last: trio.lowlevel.Task | None = None  # who went on last, and until when it has its turn
        self._last_ends_s = 0.0
        self._done = 0  # acts of this pass
        self._looks_s = 0.0  # when young garbage is looked for again
        self._aside = trio.CapacityLimiter(1)

    async def turn(self, owner: Hashable) -> None:
        """Returns when there is time for something short. `owner` is for whom it is."""
        now_s = time.perf_counter()
        if not self._lines and now_s < self._ends_s:
            return
        task = trio.lowlevel.current_task()
        if task is self._last and now_s < self._last_ends_s:
            return
        line = self._line(owner)
        line[task] = None
        while True:

            def abort(_: object) -> trio.lowlevel.Abort:
                self._leave(owner, task)
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
            now_s = time.perf_counter()
            if self._may_go or now_s < self._ends_s:
                self._may_go = False
                self._went += 1
                self._last, self._last_ends_s = task, now_s + ACT_S
                return
            line = self._line(owner)
            line[task] = None
            line.move_to_end(task, last=False)

    def soon(self, owner: Hashable, act: Callable[[], object]) -> None:
        """Does the act, which makes one task ready, now or in its turn: so that not too many are ready at once."""
        if self._ends_s == math.inf or (not self._lines and self._done < ENDED_AT_ONCE):
            self._done += 1
            act()
        else:
            self._line(owner)[act] = None

    async def through(self, owner: Hashable, work: Parts[T]) -> T:
        """What comes of the work, each of whose parts has a pass of its own."""
        while True:
            await self.turn(owner)
            try:
                next(work)
            except StopIteration as over:
                result: T = over.value
                return result
            await trio.lowlevel.checkpoint()

    async def aside(self, act: Callable[[*Ts], T], *args: *Ts) -> T:
        """What comes of an act that takes longer than a turn, in a thread: Python lets those take turns of 5 ms.

        One at a time, so that the loop waits for one at most. Who is cancelled does not wait for its end.
        """
        return await trio.to_thread.run_sync(act, *args, abandon_on_cancel=True, limiter=self._aside)

    async def run(self) -> None:
        """Lets those in who wait; ends when it is cancelled."""
        trio.lowlevel.add_instrument(self)
        try:
            with garbage.looked_for_by_the_clock():
                while True:
                    await self._someone.wait()
                    while self._lines:
                        self._let_in()
                        await trio.lowlevel.checkpoint()
                    self._someone = trio.Event()
        finally:
            trio.lowlevel.remove_instrument(self)
            self._ends_s = math.inf
            while self._lines:  # a host that closes: all that is left ends now
                self._let_in()

    def after_io_wait(self, timeout: float) -> None:
        """Called by trio: a pass begins."""
        now_s = time.perf_counter()
        self._ends_s = now_s + PASS_S
        if now_s > self._looks_s:
            self._looks_s = now_s + garbage.YOUNG_S
            garbage.look()
        self._done = 0
        if self._went:
            self._fit, self._went = self._went, 0

    def _let_in(self) -> None:
        """As many as went on in the last pass, and some more: those for whom there was no time waited twice."""
        self._may_go = True
        for _ in range(min(LET_IN, self._fit + self._fit // 4 + 2)):
            if not self._lines:
                return
            owner, line = self._lines.popitem(last=False)
            entry, _ = line.popitem(last=False)
            if line:
                self._lines[owner] = line
            if isinstance(entry, trio.lowlevel.Task):
                trio.lowlevel.reschedule(entry)
            else:
                self._went += 1
                entry()

    def _line(self, owner: Hashable) -> _Line:
        self._someone.set()
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = OrderedDict()
        return line

    def _leave(self, owner: Hashable, entry: _Entry) -> None:
        line = self._lines[owner]
        del line[entry]
        if not line:
            del self._lines[owner]
