"""`luahost doctor`: which promises of the README hold on this machine, each tried with a real worker.

A line says what was tried and what came of it; "no" is a promise that does not hold here, "-" something that only
some kernels have and that others keep in its place. Nothing is read off a version number.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from luahost.errors import Exhausted, LuahostError
from luahost.values import Limits, Source

_MARKS = {True: "ok", False: "NO", None: "-"}
LOADS = 20
ANSWER_S = 10.0
SMALL = Limits(memory_bytes=8 << 20, cpu_s=0.2, value_bytes=1 << 20)


class Line(msgspec.Struct, omit_defaults=True):
    """One promise. `holds` is None where this kernel has not got it and the README does not promise it."""

    name: str
    holds: bool | None
    what: str


class Report(msgspec.Struct):
    kernel: str
    python: str
    lines: list[Line]

    @property
    def holds(self) -> bool:
        return all(line.holds is not False for line in self.lines)


class Probed(msgspec.Struct):
    """The answer of worker/probe.py, spelt again: the worker's program is never imported here."""

    tried: dict[str, str]
    environment: int
    descriptors: list[int]
    mapped_bytes: int


def doctor(*, json: bool) -> int:
    """Prints the report; the exit code."""
    import trio

    from luahost.cli.terminal import EXITS
    from luahost.errors import WorldError

    report = trio.run(examine)
    if json:
        sys.stdout.write(
            msgspec.json.encode({"holds": report.holds, **msgspec.structs.asdict(report)}).decode() + "\n"
        )
    else:
        _print(report)
    return 0 if report.holds else dict(EXITS)[WorldError]


def _print(report: Report) -> None:
    print(f"{report.kernel}, {report.python}")
    width = max(len(line.name) for line in report.lines)
    for line in report.lines:
        print(f"{_MARKS[line.holds]:2}  {line.name:{width}}  {line.what}")
    broken = [line.name for line in report.lines if line.holds is False]
    print(f"does not hold here: {', '.join(broken)}" if broken else "every promise holds here")


async def examine() -> Report:
    """Starts workers and tries."""
    lines: list[Line] = []
    for part in (_cage, _vms):
        try:
            lines += await part()
        except (LuahostError, OSError, TimeoutError) as error:
            lines.append(Line(part.__name__.strip("_"), False, f"could not be tried: {error}"))
    return Report(
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"Python {platform.python_version()}",
        lines,
    )


# ── the cage, from inside ───────────────────────────────────────────────────────────────────────────────


async def _cage() -> list[Line]:
    import trio

    from luahost.workers.pool import address_space
    from luahost.workers.zygote import Zygote

    began = time.perf_counter()
    zygote = Zygote("probe")
    try:
        space = address_space(SMALL)
        pid, sock = await zygote.fork(space)
        booted_s = time.perf_counter() - began
        began = time.perf_counter()
        other, other_sock = await zygote.fork(space)
        forked_s = time.perf_counter() - began
        with sock, other_sock:
            status = _status(pid)
            sock.send(b"?")
            with trio.fail_after(ANSWER_S):
                probed = msgspec.json.decode(await _line(sock), type=Probed)
            lines = [
                Line(
                    "zygote",
                    True,
                    f"boots in {booted_s * 1e3:.0f} ms, forks a caged worker in {forked_s * 1e3:.1f} ms",
                ),
                *_layers(zygote.filtered, zygote.landlock, status, probed, space),
                await _dies_with_its_parent(zygote.pid, other),
            ]
            if not lines[-1].holds:
                os.kill(other, signal.SIGKILL)
            return lines
    finally:
        zygote.close()


def _layers(
    filtered: bool | None, landlock: int | None, status: dict[str, str], probed: Probed, space: int
) -> list[Line]:
    let_through = [act for act, why in probed.tried.items() if not why]
    refused = ", ".join(f"{act} ({why})" for act, why in probed.tried.items() if why)
    uid = status.get("Uid", "").split()[:1]
    linux = sys.platform == "linux"
    return [
        Line(
            "system calls",
            not let_through,
            f"a worker can {', '.join(let_through)}" if let_through else f"refused: {refused}",
        ),
        Line("seccomp", bool(filtered), "filter" if filtered else "no filter: this kernel or machine takes none"),
        Line("Landlock", True if landlock else None, _fenced(landlock or 0)),
        Line(
            "no_new_privs", status.get("NoNewPrivs") == "1", "set" if status.get("NoNewPrivs") == "1" else "not set"
        ),
        Line(
            "user",
            uid != ["0"] if uid else None,
            f"workers run as {uid[0]}, the host as {os.getuid()}" if uid else "not to be seen here",
        ),
        Line(
            "capabilities",
            int(status.get("CapEff", "0"), 16) == 0 if linux else None,
            "none" if linux else "not here",
        ),
        Line("environment", probed.environment == 0, f"{probed.environment} variables"),
        Line("descriptors", probed.descriptors == [0], f"open: {probed.descriptors}; 0 is the socket to the host"),
        Line(
            "address space",
            probed.mapped_bytes <= space,
            f"{probed.mapped_bytes >> 20} MiB could be mapped, {space >> 20} MiB allowed",
        ),
    ]


def _fenced(abi: int) -> str:
    if not abi:
        return "not in this kernel; the filter alone keeps files away"
    more = [what for since, what in ((4, "no TCP"), (6, "no signals")) if abi >= since]
    return f"ABI {abi}: {', '.join(['no files', *more])}"


async def _dies_with_its_parent(parent: int, child: int) -> Line:
    import trio

    os.kill(parent, signal.SIGKILL)
    began = time.perf_counter()
    while _runs(child) and time.perf_counter() - began < 1:  # noqa: ASYNC110 - no event tells of its end
        await trio.sleep(0.002)
    took_ms = (time.perf_counter() - began) * 1e3
    alive = _runs(child)
    return Line(
        "death", not alive, "a worker outlives its zygote" if alive else f"with its zygote, in {took_ms:.0f} ms"
    )


async def _line(sock: object) -> bytes:
    import trio

    data = b""
    while not data.endswith(b"\n"):
        await trio.lowlevel.wait_readable(sock)  # type: ignore[arg-type]
        part: bytes = sock.recv(1 << 16)  # type: ignore[attr-defined]
        if not part:
            raise OSError("the worker died of being asked")
        data += part
    return data


def _status(pid: int) -> dict[str, str]:
    """What the kernel says of a process; nothing where there is no /proc."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _runs(pid: int) -> bool:
    if sys.platform == "linux":
        return _status(pid).get("State", "X")[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


# ── VMs and their limits ────────────────────────────────────────────────────────────────────────────────


async def _vms() -> list[Line]:
    from luahost.host import Host

    lines: list[Line] = []
    async with Host() as host:
        took: list[float] = []
        for _ in range(LOADS):
            began = time.perf_counter()
            vm = await host.load(Source("return function(n) return n + 1 end"))
            took.append(time.perf_counter() - began)
            right = await vm.run(1) == 2
            await vm.close()
        took.sort()
        lines.append(
            Line("VM", right, f"loaded in {took[LOADS // 2] * 1e3:.1f} ms (median of {LOADS}), and computes")
        )

        async def ends(script: str, limit: str) -> Line:
            vm = await host.load(Source(script), limits=SMALL)
            began = time.perf_counter()
            caught = ""
            try:
                await vm.run()
            except Exhausted as error:
                caught = error.limit
            took_s = time.perf_counter() - began
            await vm.close()
            return Line(
                limit,
                caught == limit,
                f"ends a script that passes it, after {took_s:.2f} s" if caught else "not kept",
            )

        lines.append(
            await ends("return function() local t = {} while true do t[#t + 1] = {} end end", "memory_bytes")
        )
        lines.append(await ends("return function() while true do end end", "cpu_s"))
        lines.append(await _watched(host.load))
    return lines


async def _watched(load: Callable[[Source], Awaitable[object]]) -> Line:
    vm = await load(Source("return 1"))
    pid = vm._port.worker.pid  # type: ignore[attr-defined]
    try:
        used_s = time.clock_gettime((~pid) << 3 | 2)
    except OSError:
        return Line("watchdog", False, "the CPU clock of a worker cannot be read: its wall clock stands in")
    return Line("watchdog", True, f"reads a worker's CPU clock from outside: {used_s * 1e3:.1f} ms used")
