"""The fuzz targets: name → function(rng, deadline) → executions.

A target makes its input from `rng` (random.Random) alone, stops soon after `deadline` (time.monotonic()), returns
how many inputs it tried, and raises Finding when an invariant breaks. A new one is a file beside this and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import server_bytes
import texts
import worker_bytes
from finding import Finding
from mutated import fuzz as mutated_attacks
from mutating import ByteTarget
from programs import fuzz as programs

Target = Callable[[Random, float], int]

TARGETS: dict[str, Target] = {
    "attacks": mutated_attacks,
    "frames": worker_bytes.fuzz_frames,
    "values": worker_bytes.fuzz_values,
    "codec": worker_bytes.fuzz_codec,
    **server_bytes.WIRES,
    "sse": server_bytes.fuzz_sse,
    "http": server_bytes.fuzz_http,
    "grants": texts.fuzz_grants,
    "urls": texts.fuzz_urls,
    "configs": texts.fuzz_configs,
    "dumps": texts.fuzz_dumps,
    "programs": programs,
}

for _name, _target in TARGETS.items():
    if isinstance(_target, ByteTarget):
        _target.name = _name

__all__ = ["TARGETS", "Finding", "Target"]
