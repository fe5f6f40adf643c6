"""Where a VM stands: what it is doing, what it has used and what it holds, for people and for its parent.

Plain copies, made when somebody asks; nothing here changes with the VM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Status = Literal["Initializing", "Idle", "Running", "Paused", "AwaitingApproval", "Completed", "Error", "Aborted"]
"""The upstream's words. The last three are of a VM that is no more; Error also of one whose last call failed."""


class Usage(msgspec.Struct):
    """What a VM has used in its life, against its Limits.

    The heap is measured at the end of each step; wall_s is the activations' time, waits included;
    largest_value_bytes is the largest input or result, encoded.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_bytes: int = 0
    memory_peak_bytes: int = 0
    output_bytes: int = 0
    output_dropped_bytes: int = 0
    largest_value_bytes: int = 0
    activations: int = 0
    calls: int = 0
    denied: int = 0


class Held(msgspec.Struct, frozen=True):
    """A grant that a VM holds, or that was taken from it: its text, what was used of it, and what is left by it and
    those above it.
    """

    text: str
    revoked: bool
    used: dict[str, int | float]
    remaining: dict[str, int | float]


class Standing(msgspec.Struct, frozen=True):
    """One VM and those below it. `id` is its name within its parent, `name` the path from the root.

    waiting_for   the operations under way, oldest first
    over          whether it has ended
    error         why it ended, or what its last call failed with; "" if neither
    children      the living ones, and the last that have ended; `forgotten` says how many more there were
    """

    id: str
    name: str
    status: Status
    waiting_for: list[str]
    usage: Usage
    grants: dict[str, Held]
    over: bool
    error: str
    children: list[Standing]
    forgotten: int

    def walk(self) -> Iterator[Standing]:
        """This one and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def plain(self) -> dict[str, Any]:
        """What its parent is told: usage and grants, without those below."""
        return {**msgspec.to_builtins(self.usage), "grants": msgspec.to_builtins(self.grants)}
