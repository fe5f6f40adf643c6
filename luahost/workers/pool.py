"""The pool: gives every VM a port, in a worker of its own or in a shared one, and replaces what breaks.

    isolation="vm"      one worker per VM; closing the VM kills the process
    isolation="tree"    one worker per agent tree; closing the last VM of it kills the process
    isolation="shared"  VMs are spread over a few workers that live on

A dead zygote is replaced when the next worker is needed. The watchdog task looks at workers that have a step
under way, and only at those.
"""

from __future__ import annotations

import os
import random
import time

import trio

from luahost.errors import Exhausted, HostFault, LuahostError, Stopped
from luahost.pace import Pace
from luahost.values import Limits
from luahost.vm import frames
from luahost.workers.worker import Port, Worker
from luahost.workers.zygote import Zygote, ZygoteLost

SHARED_WORKERS = max(1, min(4, os.cpu_count() or 1))
WATCH_EVERY_S = 0.02
IDLE_SWEEP_S = 1.0
GIVE_WAY_S = 0.04  # of CPU in one activation; honest agents wait more than they compute
CPU_GRACE_S = 0.1  # the VM's own hook comes first: it ends a script gently and knows the line
WALL_FACTOR, WALL_SPARE_S = 4.0, 5.0  # a step that neither ends nor uses CPU: stopped from outside, or lying
WORKER_SPARE_BYTES = 192 * 1024 * 1024  # address space for Python, the allocator and buffers
TREE_VMS = 16
"""A tree's worker has address space for so many VMs with full heaps; most heaps are never full."""


def address_space(limits: Limits) -> int:
    """What a worker may map, in bytes, on top of what its zygote has; 0 is no limit."""
    if limits.isolation == "shared":
        return 0  # any number of VMs may come; each has its heap limit
    vms = TREE_VMS if limits.isolation == "tree" else 1
    return 2 * limits.memory_bytes * vms + 8 * limits.value_bytes + WORKER_SPARE_BYTES


class Pool:
    """All workers of one host; the nursery runs their readers, and the watchdog."""

    def __init__(self, nursery: trio.Nursery, zygote: Zygote, seed: random.Random, pace: Pace) -> None:
        self._nursery, self._zygote, self._seed, self._pace = nursery, zygote, seed, pace
        self._shared: list[Worker] = []
        self._trees: dict[int, Worker] = {}
        self._workers: set[Worker] = set()
        self._last_vm = 0
        self._spawning = trio.Lock()

    @property
    def zygote_pid(self) -> int:
        return self._zygote.pid

    @property
    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    async def open(self, limits: Limits, *, tree: int | None = None) -> Port:
        """A VM, booted and empty, behind its port. A child is given its parent's `port.tree`; a root none."""
        self._last_vm += 1
        vm = self._last_vm & 0xFFFFFFFF
        tree = vm if tree is None else tree
        if limits.isolation == "vm":
            worker = await self._spawn(limits)
        elif limits.isolation == "tree":
            worker = await self._join(tree, limits)
        else:
            worker = await self._share(limits)
        seed = (self._seed.getrandbits(63), self._seed.getrandbits(63))
        spec = frames.OpenVM(limits.memory_bytes, limits.cpu_s, limits.output_bytes, limits.value_bytes, *seed)
        return worker.open(vm, limits, spec, tree)

    async def close(self, port: Port) -> None:
        """Ends the VM; returns when nothing of it is left."""
        worker, closed = port.worker, Stopped("the VM was closed", kind="closed")
        if port.limits.isolation != "vm":
            worker.drop(port)
            port.fail(closed)
        if port.limits.isolation == "vm" or (port.limits.isolation == "tree" and not worker.ports):
            worker.kill(closed)
            with trio.CancelScope(shield=True):
                await worker.gone.wait()
            self._workers.discard(worker)

    async def _share(self, limits: Limits) -> Worker:
        async with self._spawning:
            self._shared = [worker for worker in self._shared if worker.alive]
            if len(self._shared) < SHARED_WORKERS:
                self._shared.append(await self._spawn(limits))
        return min(self._shared, key=lambda worker: len(worker.ports))

    async def _join(self, tree: int, limits: Limits) -> Worker:
        async with self._spawning:
            worker = self._trees.get(tree)
            if worker is None or not worker.alive:
                self._trees = {key: held for key, held in self._trees.items() if held.alive}
                worker = self._trees[tree] = await self._spawn(limits)
        return worker

    async def _spawn(self, limits: Limits) -> Worker:
        for _ in range(2):
            if not self._zygote.alive:
                self._zygote = Zygote()
            try:
                pid, sock = await self._zygote.fork(address_space(limits))
            except ZygoteLost as lost:
                why = str(lost)
                continue
            worker = Worker(self._zygote, pid, sock, limits, self._pace)
            self._workers.add(worker)
            self._nursery.start_soon(self._live, worker)
            return worker
        raise HostFault(f"no worker process could be started: {why}")

    async def _live(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            self._workers.discard(worker)

    async def watch(self) -> None:
        """The watchdog: a worker past its CPU limit is killed, whatever its VM is doing."""
        swept = time.monotonic()
        while True:
            await trio.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            sweep = now - swept > IDLE_SWEEP_S
            for worker in self._workers:
                running, error = worker.running, None
                if running is not None:
                    error = _overrun(worker, running, now)
                elif sweep:
                    error = worker.idle_use()
                if error is not None:
                    worker.kill(error, by=running)
            if sweep:
                swept = now

    async def end(self) -> None:
        """Ends every worker and the zygote; returns when nothing of them is left."""
        with trio.CancelScope(shield=True):
            for worker in list(self._workers):
                worker.kill(Stopped("the host was closed", kind="closed"))
                await worker.gone.wait()
        self._zygote.close()


def _overrun(worker: Worker, running: Port, now: float) -> LuahostError | None:
    limit = running.limits.cpu_s
    used = worker.cpu_s() - worker.cpu_mark_s
    if used > limit + CPU_GRACE_S + limit * 0.02:
        return Exhausted(
            f"the CPU limit of {limit:g} s is used up, in a call that could not be interrupted", limit="cpu_s"
        )
    if used > GIVE_WAY_S and not worker.gave_way and worker.limits.isolation != "shared":
        worker.give_way()
    if now - worker.wall_mark_s > limit * WALL_FACTOR + WALL_SPARE_S and used < limit * 0.05:
        return HostFault("the worker neither answers nor works; it was ended", kind="worker_lost")
    return None
