"""Honest VMs beside hostile ones for LUAHOST_SOAK_S seconds (4); `make soak SECONDS=n` is the long run with its table.

The host stays as it is: nothing grows, nothing is left. How late the honest ones are is a matter of the machine, and
is only looked at in the long run.
"""

from __future__ import annotations

import os

import pytest
from soak import Soak

SECONDS = float(os.environ.get("LUAHOST_SOAK_S", "4"))


@pytest.mark.long
def test_hostile_vms_leave_nothing_behind_and_the_honest_ones_get_their_answers() -> None:
    soak = Soak(SECONDS, places=20, honest=8)
    soak.run()
    assert [line for line in soak.verdict() if "late" not in line] == []
    assert soak.verdicts.total() >= 5
    assert len(soak.beside_s) >= 20
