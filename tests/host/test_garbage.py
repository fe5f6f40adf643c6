"""Garbage is looked for by the clock while a host runs, in small parts; and as before when the last has ended."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from trio_tests import in_trio

from luahost import Host
from luahost.garbage import FULL_AFTER
from luahost.pace import Pace


@pytest.fixture(autouse=True)
def _the_collector_as_it_was() -> Iterator[None]:
    before, on = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*before)
    (gc.enable if on else gc.disable)()


async def most_young(objects: int) -> int:
    """How many objects were young at most, while so many were replaced, a hundredth in each pass."""
    held: list[list[None]] = [[] for _ in range(objects)]
    gc.collect()
    most, part = 0, objects // 100
    for first in range(0, objects, part):
        for at in range(first, first + part):
            held[at] = []
        most = max(most, len(gc.get_objects(generation=0)))
        await trio.sleep(0.002)
    return most


@pytest.mark.parametrize("paced", [True, False])
def test_where_as_many_objects_go_as_come_the_young_are_few(paced: bool) -> None:
    @in_trio
    async def case() -> None:
        async with trio.open_nursery() as nursery:
            if paced:
                nursery.start_soon(Pace().run)
                await trio.testing.wait_all_tasks_blocked()
            most = await most_young(100_000)
            nursery.cancel_scope.cancel()
        assert (most < 50_000) == paced, most

    case()


class _Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize("on", [True, False])
def test_young_garbage_goes_unless_the_program_has_switched_the_collector_off(on: bool) -> None:
    @in_trio
    async def case() -> None:
        gc.disable()
        async with Host():
            await trio.testing.wait_all_tasks_blocked(0.001)  # what is there when it begins stays
            if on:
                gc.enable()
            gone = weakref.ref(_Cycle())
            for _ in range(200 if on else 20):
                await trio.sleep(0.005)
                if gone() is None:
                    break
            assert (gone() is None) == on

    case()


@in_trio
async def test_the_last_of_several_hosts_puts_pythons_own_thresholds_back() -> None:
    gc.set_threshold(600, 9, 8)
    async with Host():
        await trio.testing.wait_all_tasks_blocked(0.001)
        async with Host():
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert gc.get_threshold() == (600, 9, FULL_AFTER)
    assert gc.get_threshold() == (600, 9, 8)
