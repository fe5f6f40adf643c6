"""Honest and hostile VMs side by side in one host, for as long as wanted, and what that costs.

First the honest ones run alone, then with the attacks of tests/attacks beside them, as many as there are places.
Memory, threads, descriptors and processes are read all the time and may not grow; the honest ones must not notice:
their latency stays within LATE times what it was alone.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import trio
from arena import PRELUDE
from trio_tests import children, descriptors, library_threads, resident_bytes, zombies

from luahost import Config, Grant, Host, Limits, LuahostError, Provider, Source
from luahost.config import PROVIDERS

CASES = sorted((Path(__file__).resolve().parent.parent / "attacks" / "cases").glob("*.lua"))
HOSTILE = Limits(cpu_s=0.2, memory_bytes=16 << 20)
HOSTILE_S = 5.0
"""After so long a hostile VM is closed from outside: some of them only wait."""
HONEST = Source(
    """
    return function(n)
      local t = {}
      for i = 1, 2000 do t[i] = i * n end
      local said = {}
      for i = 1, 20 do said[i] = ("line %d"):format(t[i]) end
      local answer = orcs.llm(table.concat(said, "\\n"))
      assert(answer.ok, answer.error)
      return #t
    end
    """,
    "honest.lua",
)
RUNS_OF_A_VM = 20
THINK_S = 0.1
LATE = 2.0
ALONE_SHARE = 0.25
CHILDREN = 2  # the zygote, and the model


class Row(msgspec.Struct):
    """One look at the process, and the honest ones' latency since the last."""

    at_s: float
    hostile: int  # ended so far
    resident_bytes: int
    threads: int
    descriptors: int
    processes: int
    p50_ms: float
    p95_ms: float


class Soak:
    """`places` VMs at a time, `honest` of them honest."""

    def __init__(self, seconds: float, places: int = 50, honest: int = 20, seed: int = 1) -> None:
        self.seconds, self.places, self.honest = seconds, places, honest
        self.rows: list[Row] = []
        self.alone_s: list[float] = []
        self.beside_s: list[float] = []
        self.verdicts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._rng = Random(seed)
        self._began = 0.0
        self._since = 0  # of beside_s, at the last look

    def run(self, say: Callable[[str], None] = lambda line: None) -> None:
        with model() as url:
            provider = Provider(name="echo", base_url=url, model="echo")
            trio.run(self._main, Config(providers={**PROVIDERS, "echo": provider}, provider="echo"), say)
        if left := children():
            self.wrong.append(f"{len(left)} processes are left")

    async def _main(self, config: Config, say: Callable[[str], None]) -> None:
        async with Host(config, output=lambda vm, kind, text: None) as host:
            self._began = time.monotonic()
            await self._phase(host, ALONE_SHARE * self.seconds, 0, self.alone_s)
            self._began = time.monotonic()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look, say)
                await self._phase(host, (1 - ALONE_SHARE) * self.seconds, self.places - self.honest, self.beside_s)
                nursery.cancel_scope.cancel()
            if host._vms or host._pool.worker_pids:
                self.wrong.append(f"{len(host._vms)} VMs and {len(host._pool.worker_pids)} workers are left")
            if zombies():
                self.wrong.append("zombies are left")

    async def _phase(self, host: Host, for_s: float, hostile: int, took: list[float]) -> None:
        until = time.monotonic() + for_s
        async with trio.open_nursery() as nursery:
            for n in range(self.honest):
                nursery.start_soon(self._be_honest, host, until, n, took)
            for _ in range(hostile):
                nursery.start_soon(self._be_hostile, host, until)

    async def _be_honest(self, host: Host, until: float, n: int, took: list[float]) -> None:
        await trio.sleep(THINK_S * n / self.honest)
        while time.monotonic() < until:
            vm = await host.load(HONEST, grants=[Grant.llm()])
            for _ in range(RUNS_OF_A_VM):
                began = time.perf_counter()
                if await vm.run(n) != 2000:
                    self.wrong.append("an honest VM gave a wrong answer")
                took.append(time.perf_counter() - began)
                await trio.sleep(THINK_S)
                if time.monotonic() > until:
                    break
            await vm.close()

    async def _be_hostile(self, host: Host, until: float) -> None:
        while time.monotonic() < until:
            case = self._rng.choice(CASES)
            verdict = "ended"
            vm = None
            try:
                with trio.move_on_after(HOSTILE_S) as patience:
                    source = Source(PRELUDE + case.read_text(), case.name)
                    vm = await host.load(source, grants=[Grant.llm(max_calls=20)], limits=HOSTILE)
                    await vm.run()
                if patience.cancelled_caught:
                    verdict = "closed from outside"
            except LuahostError as error:
                verdict = type(error).__name__
            except Exception as error:
                self.wrong.append(f"{case.name}: {type(error).__name__}: {error}")
            self.verdicts[verdict] += 1
            if vm is not None:
                await vm.close()

    async def _look(self, say: Callable[[str], None]) -> None:
        every_s = max(0.25, self.seconds / 20)
        say("   time  hostile  resident  threads  descriptors  processes  honest p50   p95")
        while True:
            await trio.sleep(every_s)
            gc.collect()
            new, self._since = self.beside_s[self._since :] or [0.0], len(self.beside_s)
            row = Row(
                time.monotonic() - self._began,
                self.verdicts.total(),
                resident_bytes(),
                len(library_threads()),
                descriptors(),
                len(children()),
                quantile(new, 0.5) * 1e3,
                quantile(new, 0.95) * 1e3,
            )
            self.rows.append(row)
            say(
                f"{row.at_s:5.0f} s  {row.hostile:7}  {row.resident_bytes / 1e6:5.1f} MB  {row.threads:7}  "
                f"{row.descriptors:11}  {row.processes:9}  {row.p50_ms:7.1f} ms  {row.p95_ms:.0f} ms"
            )

    def verdict(self) -> list[str]:
        """What is wrong, a line each."""
        wrong = list(dict.fromkeys(self.wrong))
        half = len(self.rows) // 2
        early, late = self.rows[max(1, half // 2) : half + 1], self.rows[half + 1 :]
        if early and late:
            for name, spare in (("resident_bytes", 16e6), ("threads", 2), ("descriptors", 2 * self.places)):
                before, after = (max(getattr(row, name) for row in rows) for rows in (early, late))
                if after > before + spare:
                    wrong.append(f"{name} grew from {before:g} to {after:g}")
        if any(row.processes > CHILDREN for row in self.rows):
            wrong.append("the host has children besides its zygote and the model")
        alone, beside = quantile(self.alone_s, 0.5), quantile(self.beside_s, 0.5)
        if beside > LATE * alone:
            wrong.append(f"honest VMs are late: {beside * 1e3:.1f} ms, alone {alone * 1e3:.1f} ms")
        return wrong


@contextmanager
def model() -> Iterator[str]:
    """The URL of a model server in a process of its own: it keeps every request, which is no growth of ours."""
    program = [sys.executable, "-m", "luahost.testing", "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None, "the model server did not say where it listens"
            yield found[0]
        finally:
            server.terminate()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0
