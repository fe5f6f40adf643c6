"""The floor of VMs: opening one, what it weighs, one system call, and the event loop while a script misbehaves."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import time
from functools import partial
from typing import Any

import trio
from figures import Figure, Lateness, Report, cpu_of_all, digits, private_bytes

import luahost
from luahost import Grant, Host, Limits, Source

OWN, TREE, SHARED = Limits(), Limits(isolation="tree"), Limits(isolation="shared")

READY = Source("return function() return 1 end", "ready.lua")
FIRST_CALL = Source("orcs.llm('first') return 1", "first.lua")
NOW = Source("return function(n) local now for _ = 1, n do now = orcs.now() end return now end", "now.lua")
SPIN = Source("return function() while true do end end", "spin.lua")
FILL = Source("return function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end", "fill.lua")
WAIT = Source("return function() orcs.sleep(60) end", "wait.lua")


def measure(report: Report, *, quick: bool) -> None:
    trio.run(_own, report, quick)
    trio.run(_tree, report, quick)
    trio.run(_shared, report, quick)
    trio.run(_system_call, report, quick)
    trio.run(_misbehaving, report, quick)


async def _own(report: Report, quick: bool) -> None:
    kept, churned = (30, 60) if quick else (150, 400)
    async with Host() as host:
        for _ in range(10):
            await (await host.load(READY)).close()
        took, cpu, vms = [], [], []
        for _ in range(kept):
            began, used = time.perf_counter(), time.process_time()
            vms.append(await host.load(READY))
            took.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        ready = Figure(took)
        what = "a VM in its own worker, caged and ready to run"
        report.row(
            what,
            f"{digits(ready.median * 1e3)} ms, p95 {digits(ready.at(0.95) * 1e3)} ms",
            "≤ 3 ms",
            ready.median <= 3e-3,
        )
        report.row("    CPU of the host", f"{digits(Figure(cpu).median * 1e6)} µs")
        private = Figure(private_bytes(pid) for pid in host._pool.worker_pids)
        report.row("    private memory of its worker", private.show("MB", 1e-6), "≤ 1 MB", private.median <= 1e6)
        for vm in vms:
            report.expect(await vm.run() == 1, "a VM gave a wrong answer")

        left = churned

        async def churn() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await (await host.load(READY)).close()

        began, used = time.perf_counter(), time.process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(churn)
        rate = churned / (time.perf_counter() - began)
        what = "    opened and closed, 8 at a time"
        report.row(what, f"{digits(rate)} a second", "≥ 300 a second", rate >= 300)
        both = (time.process_time() - used) / churned
        report.row("    CPU of the host, opened and closed", f"{digits(both * 1e6)} µs")


async def _tree(report: Report, quick: bool) -> None:
    """Children in the worker of their root: what one more VM of a tree costs, as the pool gives it out."""
    trees, children = (5, 6) if quick else (20, 10)
    async with Host() as host:
        pool, opened = host._pool, host._pool.open
        took, weight = [], []
        for _ in range(trees):
            root = await host.load(READY, limits=TREE)
            pid = root._port.worker.pid
            before = private_bytes(pid)
            pool.open = partial(opened, tree=root._port.tree)  # type: ignore[method-assign]
            for _ in range(children):
                began = time.perf_counter()
                vm = await host.load(READY, limits=TREE)
                took.append(time.perf_counter() - began)
                report.expect(vm._port.worker.pid == pid, "a child is not in its tree's worker")
            pool.open = opened  # type: ignore[method-assign]
            weight.append((private_bytes(pid) - before) / children)
        child = Figure(took)
        what = "a VM more in the worker of its tree, ready to run"
        report.row(what, f"{digits(child.median * 1e3)} ms, p95 {digits(child.at(0.95) * 1e3)} ms")
        report.row("    private memory, in that worker", Figure(weight).show("KB", 1 / 1024))


async def _shared(report: Report, quick: bool) -> None:
    """The first call is a refused orcs.llm: the gate's record of it stops the clock."""
    count = 200 if quick else 1000
    asked: list[float] = []
    async with Host(audit=lambda record: asked.append(time.perf_counter())) as host:
        for _ in range(20):
            await (await host.load(FIRST_CALL, limits=SHARED)).close()
        gc.collect()
        before = private_bytes(os.getpid()) + sum(map(private_bytes, host._pool.worker_pids))
        took, cpu, vms = [], [], []
        for _ in range(count):
            asked.clear()
            began, used = time.perf_counter(), time.process_time()
            vms.append(await host.load(FIRST_CALL, limits=SHARED))
            cpu.append(time.process_time() - used)
            took.append(asked[0] - began)
        gc.collect()
        weight = private_bytes(os.getpid()) + sum(map(private_bytes, host._pool.worker_pids)) - before
        first = Figure(took)
        what = "a VM in a shared worker, to its first call"
        report.row(
            what,
            f"{digits(first.median * 1e3)} ms, p95 {digits(first.at(0.95) * 1e3)} ms",
            "≤ 0.5 ms",
            first.median <= 5e-4,
        )
        report.row("    CPU of the host, load and refused call", f"{digits(Figure(cpu).median * 1e6)} µs")
        each = weight / count
        report.row(
            "    memory, in host and worker together", f"{digits(each / 1024)} KB", "≤ 80 KB", each <= 80 * 1024
        )
        began, used = time.perf_counter(), time.process_time()
        for vm in vms:
            await vm.close()
        report.row("    CPU of the host, closing it", f"{digits((time.process_time() - used) / count * 1e6)} µs")


async def _system_call(report: Report, quick: bool) -> None:
    """orcs.now in a loop; beside it 32 bytes there and back between trio and another process."""
    calls, rounds = (1000, 3) if quick else (5000, 5)
    host_s, worker_s, wall_s, raw_s = [], [], [], []
    ours, theirs = socket.socketpair()
    echo = multiprocessing.get_context("fork").Process(target=partial(_echo, ours, theirs), daemon=True)
    echo.start()
    theirs.close()
    ours.setblocking(False)
    async with Host() as host:
        vm = await host.load(NOW)
        await vm.run(500)
        beside = {limits.isolation: await host.load(NOW, limits=limits) for limits in (TREE, SHARED)}
        for _ in range(rounds):
            used, worked, began = time.process_time(), cpu_of_all(host._pool.worker_pids), time.perf_counter()
            report.expect(abs(await vm.run(calls) - time.time()) < 60, "orcs.now gave a wrong answer")
            host_s.append((time.process_time() - used) / calls)
            worker_s.append((cpu_of_all(host._pool.worker_pids) - worked) / calls)
            wall_s.append((time.perf_counter() - began) / calls)
            used = time.process_time()
            for _ in range(calls):
                ours.send(b"x" * 32)
                await trio.lowlevel.wait_readable(ours)
                ours.recv(100)
            raw_s.append((time.process_time() - used) / calls)
        others = {}
        for isolation, vm in beside.items():
            await vm.run(500)
            used = time.process_time()
            await vm.run(calls)
            others[isolation] = (time.process_time() - used) / calls
    ours.close()
    echo.join(5)
    host_us = Figure(host_s)
    what = "one system call (orcs.now) there and back: CPU of the host"
    report.row(what, host_us.show("µs", 1e6), "≤ 100 µs", host_us.median <= 100e-6)
    same = ", ".join(f"{isolation} {digits(each * 1e6)} µs" for isolation, each in others.items())
    report.row("    the same in the other isolations", same)
    report.row("    CPU of the worker", Figure(worker_s).show("µs", 1e6))
    report.row("    by the wall clock", Figure(wall_s).show("µs", 1e6))
    report.row("    32 bytes there and back on trio, CPU of this side", Figure(raw_s).show("µs", 1e6))


def _echo(ours: socket.socket, theirs: socket.socket) -> None:
    ours.close()
    while data := theirs.recv(100):
        theirs.send(data)


async def _misbehaving(report: Report, quick: bool) -> None:
    """How late the loop is. The first row is the machine's own: a loop with nothing to do, and no script."""
    for_s = 0.4 if quick else 2.0
    async with Host() as host:

        async def nothing() -> None:
            await trio.sleep(for_s)

        async def spin() -> None:
            await _ends(report, host, SPIN, Limits(cpu_s=for_s), "cpu_s")

        async def fill() -> None:
            until = time.monotonic() + for_s
            while time.monotonic() < until:
                await _ends(report, host, FILL, OWN, "memory_bytes")

        async def crash() -> None:
            until = time.monotonic() + for_s
            while time.monotonic() < until:
                await _crash(report, host)

        for what, act, bounded in (
            ("nobody does anything (the machine itself)", nothing, False),
            ("a script spins", spin, True),
            ("a script fills its memory", fill, True),
            ("a script's worker crashes, again and again", crash, True),
        ):
            late = await _lateness_while(act)
            p99 = late.at(0.99)
            report.row(
                f"the event loop while {what}: late, p99",
                f"{digits(p99 * 1e3)} ms, at most {digits(max(late.late_s) * 1e3)} ms",
                "≤ 25 ms" if bounded else "",
                p99 <= 25e-3 if bounded else None,
            )


async def _lateness_while(act: Any) -> Lateness:
    late = Lateness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(late.run)
        await act()
        nursery.cancel_scope.cancel()
    return late


async def _ends(report: Report, host: Host, script: Source, limits: Limits, limit: str) -> None:
    vm = await host.load(script, limits=limits, grants=[Grant.llm()])
    try:
        await vm.run()
    except luahost.Exhausted as error:
        report.expect(error.limit == limit, f"{script.name} ended by {error.limit}, not by {limit}")
    else:
        report.error(f"{script.name} was not ended")
    await vm.close()


async def _crash(report: Report, host: Host) -> None:
    vm = await host.load(WAIT)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            try:
                await vm.run()
            except luahost.HostFault:
                return
            report.error("a crashed worker was not noticed")

        nursery.start_soon(run)
        await trio.sleep(0.005)
        os.kill(vm._port.worker.pid, signal.SIGSEGV)
    await vm.close()
