"""The cage from inside: native code in a worker's place gains nothing from the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cage_program import ACTS, GAINED, NOTHING
from trio_tests import in_trio

from luahost import Host, Limits, Source
from luahost.worker import confine, seccomp

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or seccomp.program() is None or not confine.can_filter(),
    reason="this kernel takes no seccomp filter",
)


def tried(act: str, *, closed: bool = True) -> int:
    """How the act ended: NOTHING, GAINED, or minus a signal."""
    program = Path(__file__).parent / "cage_program.py"
    command = [sys.executable, str(program), act, "closed" if closed else "open"]
    return subprocess.run(command, timeout=20, env={"PYTHONPATH": str(program.parents[2])}).returncode


HARMLESS_OUTSIDE = {"opens a file", "lists a directory", "makes a socket", "makes a pipe", "changes its directory"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the calls are spelt by x86-64 numbers")
@pytest.mark.parametrize("act", sorted(ACTS.keys() - {"does ordinary work"}))
def test_native_code_in_the_cage_gains_nothing(act: str) -> None:
    assert tried(act) == NOTHING


@pytest.mark.parametrize("act", sorted(HARMLESS_OUTSIDE))
def test_and_the_same_code_outside_of_it_does(act: str) -> None:
    assert tried(act, closed=False) == GAINED


def test_ordinary_work_goes_on_in_the_cage() -> None:
    assert tried("does ordinary work") == GAINED


@in_trio
async def test_every_worker_is_in_the_cage() -> None:
    async with Host() as host:
        for isolation in ("vm", "shared"):
            vm = await host.load(Source("return 1"), limits=Limits(isolation=isolation))
            status = Path(f"/proc/{vm._port.worker.pid}/status").read_text()
            assert "Seccomp:\t2" in status
            assert "NoNewPrivs:\t1" in status
        assert host._pool._zygote.filtered is True


@in_trio
async def test_a_worker_out_of_memory_ends_as_its_own_loss_inside_the_cage() -> None:
    async with Host() as host:
        vm = await host.load(
            Source("return function() local t = {} for i = 1, 4e5 do t[i] = {i} end return #t end")
        )
        assert await vm.run() == 400_000
