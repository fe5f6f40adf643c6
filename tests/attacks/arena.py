"""The arena: a Host where attacks are let loose one after another, and what an attacker would like to have.

A provider with a key, another VM's session, files outside the script's folder, a private network. Each attack fights
three times, in fresh VMs, the first time beside the others:

    alone    in a worker of its own, under a limit of CPU
    in time  in a worker of its own, under a limit of wall clock; then the same VM is asked for something
    shared   in a worker that it shares with an honest VM, which must be there afterwards

`Outcome` says how a fight ended and who ended it; vitals.py what it did to the others, internet.py where it went.
The host runs on an event loop in a background thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import trio
from internet import Internet
from outside import Outside
from trio_tests import children
from vitals import Seen, Vitals, stolen_s

from luahost import Grant, Host, Limits, Vm
from luahost.config import Config
from luahost.errors import (
    ConfigError,
    Denied,
    Exhausted,
    HostFault,
    LuahostError,
    ScriptError,
    Stopped,
    WorldError,
)
from luahost.ops.llm.providers import PROVIDERS, Provider
from luahost.values import Source
from luahost.workers.pool import SHARED_WORKERS
from luahost.workers.worker import Port

HERE = Path(__file__).resolve().parent
SECRET = "sk-test-SECRET-0001"
KEY_ENV = "LUAHOST_ATTACK_KEY"
WRITTEN_BYTES = 4 << 20
HEAP_BYTES = 64 << 20

ALONE = Limits(cpu_s=0.5, memory_bytes=HEAP_BYTES)
IN_TIME = Limits(wall_s=0.3, memory_bytes=HEAP_BYTES)
SHARED = Limits(cpu_s=0.15, memory_bytes=HEAP_BYTES, isolation="shared")
SPARE_S = 0.25
"""A limit is kept when the script has ended so long after it."""


def attack_table(internal_url: str = "http://127.0.0.1:8080/", folder: Path = HERE) -> str:
    """What attacks are told. Stands before each on its own first line, so that line numbers stay."""
    told = {
        "evil_base_url": "http://attacker.test:8080",
        "redirect_url": "http://redirect.test/?to=http://169.254.169.254/",
        "internal_url": internal_url,
        "outside_file": "/etc/passwd",
        "has_symlinks": "1",
        "folder": str(folder),
    }
    return "ATTACK = {" + ", ".join(f'{name} = "{value}"' for name, value in told.items()) + "} "


PRELUDE = attack_table()
HONEST = Source("return { run = function(n) return n + 1 end }", "honest")


class Outcome(NamedTuple):
    verdict: str  # SAFE, ERROR, KILLED; ESCAPED and CRASHED are never right
    how: str  # value, error, in-VM kill, process kill
    text: str  # what came back, shortened
    wall_s: float  # without the time its worker was ready to run and the machine was busy with others
    again: Any = None  # what the VM said to 41 + 1 afterwards, or the error
    neighbour: bool = True  # whether the honest VM of the same worker still answered

    def __str__(self) -> str:
        return f"{self.verdict} by {self.how} after {self.wall_s:.2f} s: {self.text[:300]}"


class Fought(NamedTuple):
    """All three fights of one attack."""

    alone: Outcome
    in_time: Outcome
    shared: Outcome
    seen: Seen
    trespasses: list[str]


def judge(value: Any, error: LuahostError | None, port: Port | None, wall_s: float) -> Outcome:
    """What an attack's end means. The worker's end, if it had one, is what its port was told."""
    if error is None:
        escaped = isinstance(value, str) and value.startswith("ESCAPED")
        shown = repr(value[:2000] if isinstance(value, str | list | bytes) else value)[:2000]
        return Outcome("ESCAPED" if escaped else "SAFE", "value", shown, wall_s)
    text = error.message
    if isinstance(error, Exhausted) and error.limit in ("cpu_s", "memory_bytes"):
        outside = port is not None and isinstance(port.lost, Exhausted | HostFault)
        return Outcome("KILLED", "process kill" if outside else "in-VM kill", text, wall_s)
    if isinstance(error, Stopped):
        return Outcome("KILLED", "process kill" if port is None or port.lost else "in-VM kill", text, wall_s)
    if isinstance(error, ScriptError | Denied | WorldError | Exhausted | ConfigError):
        if isinstance(error, ScriptError):
            text = "\n".join((text, error.where, error.traceback))
        return Outcome("ERROR", "error", text, wall_s)
    return Outcome("CRASHED", "process kill", f"{type(error).__name__}: {text}", wall_s)


_opened: ContextVar[list[Port]] = ContextVar("_opened")


class Arena:
    """Use as a context manager, from a thread without an event loop."""

    private_too = False  # whether http may go to private addresses: only where a test wants it to

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []  # all that scripts put out, and all that was audited
        self.host: Host
        self.internet: Internet
        self.prelude: str
        self.vitals: Vitals
        self._neighbours: list[Vm] = []  # an honest VM in each shared worker
        self._token: trio.lowlevel.TrioToken
        self._ready = threading.Event()
        self._over: trio.Event
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="arena")

    def __enter__(self) -> Arena:
        os.environ[KEY_ENV] = SECRET
        (self.folder / "modules").mkdir()
        for name in ("good.lua", "modules/good.lua"):
            (self.folder / name).write_text("return {v = 1}\n")
        (self.folder / "loops.lua").write_text("return require('loops')\n")
        (self.folder / "spins.lua").write_text("while true do end\n")
        (self.folder / "bytes.lua").write_bytes(b"\x1bLuaT\0\x19\x93\r\n\x1a\n")
        (self.folder / "folder.lua").mkdir()
        os.mkfifo(self.folder / "fifo")
        os.mkfifo(self.folder / "pipe.lua")
        (self.folder / "out").symlink_to("/")
        (self.folder / "outfile").symlink_to("/etc/passwd")
        (self.folder / "inside").symlink_to("good.lua")
        (self.folder / "link.lua").symlink_to("/etc/passwd")
        self._thread.start()
        self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(30)
        del os.environ[KEY_ENV]
        assert not self._thread.is_alive(), "the host did not close"
        if self._failure is not None:
            raise self._failure

    def call(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Runs the async function in the arena's loop; returns its result."""
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def _serve(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        with Outside(SECRET) as outside, Internet(outside).up() as self.internet:
            self.prelude = attack_table(f"http://127.0.0.1:{outside.internal_port}/", self.folder)
            model_url = f"http://127.0.0.1:{outside.model_port}"
            provider = Provider(name="echo", base_url=model_url, key_env=KEY_ENV, model="echo-1")
            config = Config(providers={**PROVIDERS, "echo": provider}, provider="echo")
            async with Host(config, audit=self._audited, output=self._put_out) as self.host:
                self._tell_ports()
                victim = await self.host.load(
                    Source("return orcs.llm('VICTIM', {session_id = 'victim-session'}).ok"),
                    grants=[self.grant(), Grant.spawn(max_tree=12)],
                )
                sibling = await self.host.load(HONEST)
                self.vitals = Vitals(sibling.run, self._counts)
                self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
                self._ready.set()
                await self._over.wait()
                assert "VICTIM" in victim.sessions.dump()

    def _tell_ports(self) -> None:
        """Lets a fight know its port even when loading fails and no Vm comes of it."""
        pool = self.host._pool
        opened = pool.open

        async def open(limits: Limits, **options: Any) -> Port:
            port = await opened(limits, **options)
            _opened.get([]).append(port)
            return port

        pool.open = open  # type: ignore[method-assign]

    def _audited(self, record: dict[str, Any]) -> None:
        self.said.append(repr(record))

    def _put_out(self, vm: str, kind: str, text: str) -> None:
        self.said.append(text)

    def _counts(self) -> dict[str, int]:
        """What an attack could leave behind in the host."""
        if self.host._world._client is not None:
            self.host._world._client.transport._idle.close_all()  # kept on purpose
        return {
            "worker processes": len(self.host._pool.worker_pids),
            "processes": len(children()),
            "VMs": len(self.host._vms),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "descriptors": len(os.listdir("/dev/fd")),
        }

    # ── fights ──────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def grant() -> Grant:
        return Grant.llm(providers=["echo"])

    def grants(self, holds: str = "") -> list[Grant]:
        """What an attack holds: a model, children, and the files of the arena's folder, 4 MB of them.

        And what its head says under `holds`: http (every public server), exec (two harmless programs).
        """
        files = [Grant(kind, roots=[str(self.folder)]) for kind in ("fs.read", "fs.delete")]
        files.append(Grant("fs.write", roots=[str(self.folder)], max_bytes=WRITTEN_BYTES))
        held = [self.grant(), Grant.spawn(max_tree=12), *files]
        if "http" in holds:
            private = self.private_too or None
            held.append(
                Grant("http", max_redirects=3, max_response_bytes=1 << 20, timeout_s=5, allow_private=private)
            )
        if "exec" in holds:
            held.append(Grant("exec", commands=["printf", "sleep"], roots=[str(self.folder)], timeout_s=5))
        return held

    def source(self, text: str | bytes, name: str) -> Source:
        return Source(text, name, self.folder)

    async def fight(self, text: str | bytes, name: str, limits: Limits = ALONE, holds: str = "") -> Outcome:
        """The script as it is: its top level is the attack, then it is run."""
        vm, value, error = None, None, None
        ports: list[Port] = []
        _opened.set(ports)
        async with trio.open_nursery() as nursery:
            watch = Stopwatch(nursery, lambda: ports[0] if ports else None)
            try:
                vm = await self.host.load(self.source(text, name), grants=self.grants(holds), limits=limits)
                value = await vm.run()
            except LuahostError as raised:
                error = raised
            watch.stop()
            nursery.cancel_scope.cancel()
        outcome = judge(value, error, ports[0] if ports else None, watch.wall_s)
        if vm is not None:
            await vm.close()
        return outcome

    async def fight_and_ask(self, text: str, name: str, limits: Limits, holds: str = "") -> Outcome:
        """The script as the run() of a table, so that the same VM can be asked for something afterwards."""
        body = text.removeprefix(self.prelude)
        wrapped = f"{self.prelude} return {{ run = function() {body}\nend, on_request = function(r) return r.payload + 1 end }}"
        try:
            vm = await self.host.load(self.source(wrapped, name), grants=self.grants(holds), limits=limits)
        except Stopped as raised:  # loading alone took all its time, on a busy machine
            return judge(None, raised, None, 0.0)._replace(again=raised)
        neighbour = await self._neighbour_of(vm) if limits.isolation == "shared" else None
        value, error, again = None, None, None
        async with trio.open_nursery() as nursery:
            watch = Stopwatch(nursery, lambda: vm._port)
            try:
                value = await vm.run()
            except LuahostError as raised:
                error = raised
            watch.stop()
            nursery.cancel_scope.cancel()
        outcome = judge(value, error, vm._port, watch.wall_s if limits.wall_s is None else watch.real_s)
        try:
            again = await vm.request("add", 41)
        except LuahostError as raised:
            again = raised
        await vm.close()
        return outcome._replace(again=again, neighbour=neighbour is None or await self._is_well(neighbour))

    async def two(self) -> Any:
        """What a new VM says 1+1 is."""
        vm = await self.host.load(Source("return 1+1"), limits=ALONE)
        try:
            return await vm.run()
        finally:
            await vm.close()

    async def all_three(self, text: str, name: str, holds: str = "", alone: Limits = ALONE) -> Fought:
        text = self.prelude + text
        self.internet.trespasses()
        await self._settle_neighbours()
        fought: dict[str, Outcome] = {}

        async def fight_alone() -> None:
            fought["alone"] = await self.fight(text, name, alone, holds)

        async def fight_the_others() -> None:
            fought["in_time"] = await self.fight_and_ask(text, name, IN_TIME, holds)
            fought["shared"] = await self.fight_and_ask(text, name, SHARED, holds)

        async with self.vitals.around() as seen, trio.open_nursery() as nursery:
            nursery.start_soon(fight_alone)
            nursery.start_soon(fight_the_others)
        return Fought(**fought, seen=seen, trespasses=self.internet.trespasses())

    async def _settle_neighbours(self) -> None:
        """An honest VM in every shared worker, also where an attack took the last one along."""
        for vm in self._neighbours:
            if vm._port.lost is not None:
                await vm.close()
        self._neighbours = [vm for vm in self._neighbours if vm._port.lost is None]
        while len({vm._port.worker for vm in self._neighbours}) < SHARED_WORKERS:
            self._neighbours.append(await self.host.load(HONEST, limits=Limits(isolation="shared")))

    async def _neighbour_of(self, vm: Vm) -> Vm:
        return next(each for each in self._neighbours if each._port.worker is vm._port.worker)

    @staticmethod
    async def _is_well(vm: Vm) -> bool:
        with suppress(LuahostError), trio.move_on_after(2):
            return await vm.run(41) == 42
        return False


class Stopwatch:
    """The wall clock, less what the kernel let a worker wait for a processor, and the machine's host all of them."""

    def __init__(self, nursery: trio.Nursery, port_of: Callable[[], Port | None]) -> None:
        self.wall_s = self.real_s = 0.0
        self._waited_s = 0.0
        self._began_s, self._stolen_before_s = trio.current_time(), stolen_s()
        self._port_of = port_of
        self._first_s: float | None = None
        nursery.start_soon(self._watch)

    def stop(self) -> float:
        self.real_s = trio.current_time() - self._began_s
        self.wall_s = self.real_s - self._waited_s - (stolen_s() - self._stolen_before_s)
        return self.wall_s

    async def _watch(self) -> None:
        while True:
            port = self._port_of()
            if port is not None:
                with suppress(OSError, ValueError, IndexError):  # it has ended, or the kernel does not tell
                    waited_s = int(Path(f"/proc/{port.worker.pid}/schedstat").read_text().split()[1]) / 1e9
                    self._first_s = waited_s if self._first_s is None else self._first_s
                    self._waited_s = waited_s - self._first_s
            await trio.sleep(0.02)
