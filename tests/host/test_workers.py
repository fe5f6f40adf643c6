"""Workers break in every way a process can; their own VMs hear of it, nobody else does."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio_tests import Passes, children, descriptors, in_trio, library_threads, resident_bytes, zombies

from luahost import Exhausted, Host, HostFault, Limits, LuahostError, Source, Stopped
from luahost.vm import frames, protocol
from luahost.vm.machine import open_spec
from luahost.worker import loop
from luahost.workers.pool import SHARED_WORKERS

SHARED = Limits(isolation="shared")
TREE = Limits(isolation="tree")
# One C call that no hook interrupts and the guards do not know of yet: comparing long texts byte by byte.
STUCK = Source(
    'local a, b = ("\\0"):rep(8000000) .. "x", ("\\0"):rep(8000000) .. "y"\n'
    "return function() local t = {} for i = 1, 60 do t[i] = i % 2 == 0 and a or b end "
    "while true do for i = 1, 59 do local x = t[i] < t[i + 1] end end end"
)


def worker_pid(vm) -> int:
    return vm._port.worker.pid


@in_trio
async def test_a_vm_runs_in_a_process_that_is_not_ours() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        assert worker_pid(vm) not in (os.getpid(), host._pool.zygote_pid)
        assert await vm.run() == 1


@pytest.mark.parametrize("many", [True, False])
def test_the_next_vm_of_a_shared_worker_is_booted_once_a_step_is_answered(
    many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[loop.Prepared] = []

    class Counted(loop.Prepared):
        def __init__(self) -> None:
            booted.append(self)
            super().__init__()

    class NoGuard:  # the real one sets a limit of this process
        def allow(self, used_s: float, more_s: float) -> None: ...

    first = loop.Prepared()
    monkeypatch.setattr(loop, "Prepared", Counted)
    monkeypatch.setattr(loop, "CpuGuard", NoGuard)
    host, worker = socket.socketpair()
    with host, worker:
        thread = threading.Thread(target=loop.run, args=(worker, first, many))
        thread.start()
        host.sendall(frames.frame(frames.OPEN, 1, open_spec(Limits()).pack()))
        load = protocol.start(1, "load", {"source": b"return 1", "name": "x", "input": None}, 0.0)
        host.sendall(frames.frame(frames.STEP, 1, load))
        assert host.recv(1 << 16)[4] == frames.STEPPED
        host.shutdown(socket.SHUT_WR)
        thread.join(20)
        assert not thread.is_alive()
    assert len(booted) == many


@in_trio
async def test_each_vm_has_a_worker_of_its_own_and_shared_ones_do_not() -> None:
    async with Host() as host:
        own = [await host.load(Source("return 1")) for _ in range(3)]
        shared = [await host.load(Source("return 1"), limits=SHARED) for _ in range(20)]
        assert len({worker_pid(vm) for vm in own}) == 3
        assert len({worker_pid(vm) for vm in shared}) <= 4
        assert not {worker_pid(vm) for vm in own} & {worker_pid(vm) for vm in shared}


async def child_of(host, parent, text: str, limits: Limits = TREE):
    """A VM of the same tree, as the host makes children."""
    pool = host._pool
    opened = pool.open
    pool.open = partial(opened, tree=parent._port.tree)
    try:
        return await host.load(Source(text), limits=limits)
    finally:
        pool.open = opened


@in_trio
async def test_the_vms_of_one_tree_share_a_worker_and_another_tree_has_another() -> None:
    async with Host() as host:
        roots = [await host.load(Source("return 'root'"), limits=TREE) for _ in range(2)]
        family = [await child_of(host, roots[0], f"return {i}") for i in range(3)]
        grandchild = await child_of(host, family[0], "return 'grandchild'")
        alone = await child_of(host, roots[0], "return 1", Limits())
        ours = {worker_pid(vm) for vm in (roots[0], *family, grandchild)}
        assert len(ours) == 1
        assert len({*ours, worker_pid(roots[1]), worker_pid(alone)}) == 3
        assert [await vm.run() for vm in family] == [0, 1, 2]
        # The worker lives as long as one VM of its tree.
        pid = ours.pop()
        for vm in (roots[0], *family):
            await vm.close()
        assert await grandchild.run() == "grandchild"
        assert pid in host._pool.worker_pids
        await grandchild.close()
        assert pid not in host._pool.worker_pids
        assert await roots[1].run() == "root"


@in_trio
async def test_vms_of_a_tree_that_open_at_once_still_share_one_worker() -> None:
    async with Host() as host:
        pool, ports = host._pool, []

        async def open_one() -> None:
            ports.append(await pool.open(TREE, tree=7))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(open_one)
        assert len({port.worker for port in ports}) == 1
        for port in ports:
            await pool.close(port)
        assert pool.worker_pids == []


@in_trio
async def test_a_crash_ends_its_own_tree_and_no_other() -> None:
    async with Host() as host:
        root, other = [await host.load(Source("return 'well'"), limits=TREE) for _ in range(2)]
        child = await child_of(host, root, "return function() orcs.sleep(60) end")
        os.kill(worker_pid(child), signal.SIGSEGV)
        for vm in (root, child):
            with pytest.raises(HostFault, match="SIGSEGV"):
                await vm.run()
        assert await other.run() == "well"
        again = await child_of(host, root, "return 'again'")  # the tree gets a new worker when it needs one
        assert await again.run() == "again"


@pytest.mark.parametrize("isolation", ["tree", "shared"])
def test_a_later_vm_of_a_worker_may_carry_larger_values_than_the_first(isolation: str) -> None:
    @in_trio
    async def case() -> None:
        async with Host() as host:
            small = await host.load(Source("return 1"), limits=Limits(isolation=isolation, value_bytes=1024))
            limits = Limits(isolation=isolation, value_bytes=4 << 20)
            large = await child_of(host, small, "return function(text) return text .. '!' end", limits)
            assert len(await large.run("x" * (3 << 20))) == (3 << 20) + 1
            assert await small.run() == 1

    case()


@in_trio
async def test_a_worker_has_no_descriptor_but_its_socket_and_no_environment() -> None:
    os.environ["LUAHOST_TEST_SECRET"] = "sk-secret"
    try:
        async with Host() as host:
            vm = await host.load(Source("return 1"))
            pid = worker_pid(vm)
            # The worker is not dumpable: as root we may look all the same.
            if os.getuid() == 0:
                assert os.listdir(f"/proc/{pid}/fd") == ["0"]
                assert b"SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
                assert b"SECRET" not in Path(f"/proc/{host._pool.zygote_pid}/environ").read_bytes()
    finally:
        del os.environ["LUAHOST_TEST_SECRET"]


@in_trio
async def test_a_worker_has_its_rlimits_and_no_new_privileges() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        limits = Path(f"/proc/{worker_pid(vm)}/limits").read_text()
        rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()[1:]}
        assert rows["Max open files"] == ["1", "1"]
        assert rows["Max file size"] == ["0", "0"]
        assert rows["Max processes"] == ["0", "0"]
        assert rows["Max core file size"] == ["0", "0"]
        assert rows["Max address space"][0] != "unlimited"
        assert rows["Max cpu time"][0] != "unlimited"
        assert "NoNewPrivs:\t1" in Path(f"/proc/{worker_pid(vm)}/status").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crashed_worker_fails_its_own_vm_and_nobody_else(number: int) -> None:
    @in_trio
    async def case() -> None:
        async with Host() as host:
            victim = await host.load(Source("return function() orcs.sleep(60) end"))
            sibling = await host.load(Source("return function() orcs.sleep(0.1) return 'well' end"))
            async with trio.open_nursery() as nursery:

                async def kill() -> None:
                    await trio.sleep(0.05)
                    os.kill(worker_pid(victim), number)

                nursery.start_soon(kill)
                with pytest.raises(HostFault, match=signal.Signals(number).name) as caught:
                    await victim.run()
                assert caught.value.kind == "worker_lost"
            assert await sibling.run() == "well"
            with pytest.raises(HostFault):  # and it says the same ever after
                await victim.run()
            assert await (await host.load(Source("return 2"))).run() == 2

    case()


@in_trio
async def test_a_shared_worker_that_crashes_fails_its_vms_and_is_replaced() -> None:
    async with Host() as host:
        vms = [await host.load(Source("return function() orcs.sleep(60) end"), limits=SHARED) for _ in range(8)]
        dead = worker_pid(vms[0])
        failed = []

        async def one(vm) -> None:
            with pytest.raises(LuahostError):
                await vm.run()
            failed.append(vm)

        async with trio.open_nursery() as nursery:
            for vm in vms:
                nursery.start_soon(one, vm)
            await trio.sleep(0.1)
            os.kill(dead, signal.SIGKILL)
            await trio.sleep(0.1)
            assert {vm for vm in vms if worker_pid(vm) == dead} == set(failed)
            fresh = [await host.load(Source("return 3"), limits=SHARED) for _ in range(4)]
            assert [await vm.run() for vm in fresh] == [3, 3, 3, 3]
            for vm in vms:
                await vm.close()


def _compute(cpu_s: float) -> None:
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("hold", [time.sleep, _compute], ids=["a blocking call", "a computation"])
@in_trio
async def test_whatever_holds_the_loop_is_seen(hold: Callable[[float], None]) -> None:
    with Passes() as passes:
        await trio.sleep(0.02)
        hold(0.1)
        await trio.sleep(0.02)
    assert 0.08 < passes.longest_s < 0.3


@pytest.mark.alone
@pytest.mark.long
@in_trio
async def test_a_script_stuck_in_c_is_ended_by_the_process_kill_and_the_loop_is_never_late() -> None:
    async with Host() as host:
        sibling = await host.load(Source("return 1"))
        vm = await host.load(STUCK, limits=Limits(cpu_s=0.4, memory_bytes=1 << 26))
        began = time.perf_counter()
        with Passes() as passes, pytest.raises(Exhausted) as caught:
            await vm.run()
        assert caught.value.limit == "cpu_s"
        assert time.perf_counter() - began < 4.0  # 2 × the limit, on a machine that is doing other things too
        assert await sibling.run() == 1
    assert passes.longest_s < 0.025


@in_trio
async def test_a_worker_that_works_without_having_a_step_is_ended() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        worker = vm._port.worker
        used = 0.0
        worker.cpu_s = lambda: used  # type: ignore[method-assign]
        assert worker.idle_use() is None
        used = 5.0
        error = worker.idle_use()
        assert isinstance(error, HostFault)
        assert error.kind == "worker_lied"
        worker.step_begins(vm._port)
        used = 9.0
        assert worker.idle_use() is None  # it was asked to


@in_trio
async def test_in_a_shared_worker_a_stuck_vm_is_ended_at_its_own_limit_also_when_it_was_closed_meanwhile() -> None:
    limits = Limits(isolation="shared", cpu_s=0.3)
    async with Host() as host:
        neighbours = [await host.load(Source("return 1"), limits=SHARED) for _ in range(SHARED_WORKERS)]

        vm = await host.load(STUCK, limits=limits)
        (neighbour,) = (each for each in neighbours if each._port.worker is vm._port.worker)
        with trio.fail_after(5), pytest.raises(Exhausted, match=r"the CPU limit of 0\.3 s"):
            await vm.run()
        with pytest.raises(HostFault, match="another VM in it: the CPU limit") as lost:
            await neighbour.run()
        assert lost.value.kind == "worker_lost"

        vm = await host.load(STUCK, limits=limits)
        worker = vm._port.worker
        with trio.move_on_after(0.02):
            await vm.run()
        await vm.close()
        with trio.fail_after(5):
            await worker.gone.wait()


@in_trio
async def test_a_worker_that_computes_for_long_gives_way_to_the_others() -> None:
    async with Host() as host:
        spins, waits = [await host.load(Source(text), limits=Limits(cpu_s=0.4)) for text in (SPINS, WAITS)]
        priorities = []

        async def look() -> None:
            while True:
                with suppress(ProcessLookupError):
                    priorities.append(os.getpriority(os.PRIO_PROCESS, worker_pid(spins)))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with pytest.raises(Exhausted):
                await spins.run()
            nursery.cancel_scope.cancel()
        assert await waits.run() == 1
        assert max(priorities) > priorities[0] == os.getpriority(os.PRIO_PROCESS, worker_pid(waits))


SPINS, WAITS = "return function() while true do end end", "return function() orcs.sleep(0.05) return 1 end"


@in_trio
async def test_the_zygote_dying_is_survived() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function() orcs.sleep(60) end"))
        old = host._pool.zygote_pid
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await trio.sleep(0.05)
                os.kill(old, signal.SIGKILL)

            nursery.start_soon(kill)
            with pytest.raises(HostFault):
                await vm.run()
        again = await host.load(Source("return 'again'"))
        assert await again.run() == "again"
        assert host._pool.zygote_pid != old


@in_trio
async def test_a_zygote_that_died_unnoticed_is_replaced_at_the_next_load() -> None:
    async with Host() as host:
        os.kill(host._pool.zygote_pid, signal.SIGKILL)
        await trio.sleep(0.05)
        assert await (await host.load(Source("return 1"))).run() == 1


def test_nothing_is_left_of_a_host_that_is_closed_in_the_middle_of_everything() -> None:
    before, threads = descriptors(), library_threads()

    async def main() -> None:
        async with Host() as host:
            spin = Source("return function() while true do end end")
            vms = [await host.load(spin, limits=limits) for limits in (Limits(), SHARED) for _ in range(5)]
            for vm in vms:
                host._nursery.start_soon(_ignore, vm)
            await trio.sleep(0.1)

    trio.run(main)
    assert descriptors() <= before
    assert not children()
    assert [name for name in library_threads() if name not in threads and "trio" not in name.lower()] == []


async def _ignore(vm) -> None:
    with pytest.raises(LuahostError):
        await vm.run()


@in_trio
async def test_an_error_inside_the_block_reaches_the_caller_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Host() as host:
            await host.load(Source("return 1"))
            raise ZeroDivisionError


@pytest.mark.long
@pytest.mark.parametrize("isolation", ["vm", "tree", "shared"])
def test_create_run_close_leaves_nothing(isolation: str) -> None:
    """LUAHOST_CYCLES=10000 runs the full number; a test run has a small budget."""
    cycles = int(os.environ.get("LUAHOST_CYCLES", "150"))

    async def main() -> None:
        async with Host() as host:
            limits = Limits(isolation=isolation)
            for _ in range(10):
                await (await host.load(Source("return 1"), limits=limits)).close()
            before, memory = descriptors(), resident_bytes()
            for number in range(cycles):
                vm = await host.load(Source("return function(n) return n + 1 end"), limits=limits)
                assert await vm.run(number) == number + 1
                await vm.close()
            assert descriptors() == before
            assert not zombies()
            assert len(host._pool.worker_pids) <= (4 if isolation == "shared" else 0)
            assert resident_bytes() - memory < 8 << 20
            assert not host._vms

    trio.run(main)
    assert not children()


@in_trio
async def test_a_hundred_vms_wait_at_the_same_time() -> None:
    async with Host() as host:
        vms = [await host.load(Source("return function() orcs.sleep(0.3) return 1 end")) for _ in range(40)]
        vms += [
            await host.load(Source("return function() orcs.sleep(0.3) return 1 end"), limits=SHARED)
            for _ in range(60)
        ]
        total = []

        async def one(vm) -> None:
            total.append(await vm.run())

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for vm in vms:
                nursery.start_soon(one, vm)
        assert sum(total) == 100
        assert time.perf_counter() - began < 3.0


@in_trio
async def test_a_closed_vm_says_so() -> None:
    async with Host() as host:
        vm = await host.load(Source("return 1"))
        await vm.close()
        await vm.close()
        with pytest.raises(Stopped, match="closed"):
            await vm.run()


def test_a_zygote_that_cannot_boot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    async def main() -> None:
        # What it needs is imported here already; the zygote finds nothing at all on this path.
        monkeypatch.setattr(sys, "path", ["/nonexistent"])
        async with Host() as host:
            with pytest.raises(HostFault, match="could not boot: ModuleNotFoundError"):
                await host.load(Source("return 1"))

    trio.run(main)


@in_trio
async def test_a_cancelled_vm_whose_worker_had_no_core_meanwhile_lives_on() -> None:
    async with Host() as host:
        vm = await host.load(Source("return function(s) orcs.sleep(s) return 'slept' end"))
        os.kill(worker_pid(vm), signal.SIGSTOP)
        with trio.move_on_after(0.02):
            await vm.run(60)
        await trio.sleep(0.3)
        os.kill(worker_pid(vm), signal.SIGCONT)
        assert await vm.run(0) == "slept"
