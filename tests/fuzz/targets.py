"""The fuzz targets: name → function(rng, deadline) → executions.

A target makes its input from `rng` (random.Random) alone, stops soon after `deadline` (time.monotonic()), returns
how many inputs it tried, and raises Finding when an invariant breaks. A new one is a file beside this and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from finding import Finding
from mutated import fuzz as mutated_attacks

Target = Callable[[Random, float], int]

TARGETS: dict[str, Target] = {
    "attacks": mutated_attacks,
}

__all__ = ["TARGETS", "Finding", "Target"]
