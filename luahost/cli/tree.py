"""`luahost run --tree`: the VMs of a run as a tree, live while it goes on, and once more when it is over.

    agent  Running  waits for child.batch
    ├── agent/one  Running  waits for llm   llm: 2 calls, 310 tokens used; 3 calls left
    └── agent/two  Error  llm denied: …     1 denied

Live only where stderr is a terminal; elsewhere, the last picture alone. Drawn from Vm.standing(), a few times a
second, and hidden whenever the script has something to say. rich is imported when the first tree is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from luahost.standing import Held, Standing
from luahost.values import shown

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

EVERY_S = 0.15
ERROR_CHARACTERS = 100

_STYLES = {"Running": "bold", "Error": "red", "Aborted": "red", "Completed": "dim"}


class View:
    """The live picture. `standing` is asked for what to draw; None while there is nothing."""

    def __init__(self, standing: Callable[[], Standing | None], may_draw: Callable[[], bool]) -> None:
        self._standing, self._may_draw = standing, may_draw
        self._live: Live | None = None

    async def run(self) -> None:
        """Draws until it is cancelled."""
        import trio
        from rich.live import Live

        try:
            while True:
                await trio.sleep(EVERY_S)
                now = self._standing()
                if now is None or not self._may_draw():
                    continue
                if self._live is None:
                    self._live = Live(console=_console(), auto_refresh=False, transient=True, redirect_stdout=False)
                    self._live.start()
                self._live.update(drawn(now), refresh=True)
        finally:
            self.hide()

    def hide(self) -> None:
        """Takes the picture away, so that something else can be written there."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def show(standing: Standing) -> None:
    """The picture, to stay."""
    _console().print(drawn(standing))


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stderr.isatty() else 200
    return Console(file=sys.stderr, width=width, highlight=False, markup=False, soft_wrap=not sys.stderr.isatty())


def drawn(standing: Standing) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(line(standing), style=_STYLES.get(standing.status, "")))
    for child in standing.children:
        tree.children.append(drawn(child))
    if standing.forgotten:
        tree.add(Text(f"and {standing.forgotten} that ended earlier", style="dim"))
    return tree


def line(standing: Standing) -> str:
    """One VM in one line: who, what it does, what it has used of what it was given, what was refused."""
    parts = [f"{standing.name}  {standing.status}"]
    if standing.waiting_for:
        parts.append(f"waits for {_counted(standing.waiting_for)}")
    parts += [used(kind, held) for kind, held in sorted(standing.grants.items())]
    if standing.usage.denied:
        parts.append(f"{standing.usage.denied} denied")
    if standing.error:
        parts.append(standing.error[:ERROR_CHARACTERS])
    return shown("   ".join(parts), one_line=True)


def used(kind: str, held: Held) -> str:
    """`llm: 2 calls, 310 tokens, $0.02 used; 3 calls left`."""
    spent = [_amount(name, amount) for name, amount in held.used.items() if amount and name not in _UNSAID]
    left = [_amount(name, amount) for name, amount in held.remaining.items() if name != "concurrency"]
    told = f"{kind}: {', '.join(spent) or 'nothing'} used"
    if held.revoked:
        return told + "; revoked"
    return told + (f"; {', '.join(left)} left" if left else "")


_UNSAID = ("running", "input_tokens", "output_tokens")  # these are in tokens


def _amount(name: str, amount: float) -> str:
    return f"${amount:.4g}" if name == "cost_usd" else f"{amount} {name.replace('_', ' ')}"


def _counted(operations: list[str]) -> str:
    """`llm, 3 × clock.sleep`."""
    counts = dict.fromkeys(operations, 0)
    for operation in operations:
        counts[operation] += 1
    return ", ".join(name if n == 1 else f"{n} × {name}" for name, n in counts.items())


def stood(standing: Standing) -> list[str]:
    """Where each living VM stands, a line each: what an interrupted command says."""
    return [
        f"{each.name} was {'waiting for ' + _counted(each.waiting_for) if each.waiting_for else _doing(each)}"
        for each in standing.walk()
        if not each.over
    ]


def _doing(standing: Standing) -> str:
    return "running" if standing.status in ("Running", "Initializing") else standing.status.lower()
