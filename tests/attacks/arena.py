"""The arena: one Host on an event loop in a background thread, where attacks run next to each other.

It holds what an attacker would like to have: a provider with a key, another VM's session, files outside the
script's folder. `fight` runs one script and says how it ended, who ended it, and what the host saw of it.
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

from luahost import Grant, Host, Limits
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
from luahost.testing import EchoModel
from luahost.values import Source
from luahost.workers.worker import Port

SECRET = "sk-test-SECRET-0001"
KEY_ENV = "LUAHOST_ATTACK_KEY"
WRITTEN_BYTES = 4 << 20
LIMITS = Limits(cpu_s=1.0, memory_bytes=64 << 20)

ATTACK = {
    "evil_base_url": "http://attacker.test:8080",
    "redirect_url": "http://redirect.test/?to=http://169.254.169.254/",
    "internal_url": "http://127.0.0.1:8080/",
    "outside_file": "/etc/passwd",
    "has_symlinks": "1",
}
PRELUDE = "ATTACK = {" + ", ".join(f'{name} = "{value}"' for name, value in ATTACK.items()) + "} "
"""Stands before the script on its own first line, so that line numbers stay."""


class Outcome(NamedTuple):
    verdict: str  # SAFE, ERROR, KILLED; ESCAPED and CRASHED are never right
    how: str  # value, error, in-VM kill, process kill
    text: str  # what came back, shortened
    wall_s: float  # without the time the worker was ready to run and the machine was busy with others

    def __str__(self) -> str:
        return f"{self.verdict} by {self.how} after {self.wall_s:.2f} s: {self.text[:300]}"


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
        return Outcome("KILLED", "process kill", text, wall_s)
    if isinstance(error, ScriptError | Denied | WorldError | Exhausted | ConfigError):
        if isinstance(error, ScriptError):
            text = "\n".join((text, error.where, error.traceback))
        return Outcome("ERROR", "error", text, wall_s)
    return Outcome("CRASHED", "process kill", f"{type(error).__name__}: {text}", wall_s)


class Stopwatch:
    """The wall clock, less what the kernel let a worker wait for a processor."""

    def __init__(self, nursery: trio.Nursery, port_of: Callable[[], Port | None]) -> None:
        self.wall_s = 0.0
        self._waited_s = 0.0
        self._began_s = trio.current_time()
        self._port_of = port_of
        nursery.start_soon(self._watch)

    def stop(self) -> float:
        self.wall_s = trio.current_time() - self._began_s - self._waited_s
        return self.wall_s

    async def _watch(self) -> None:
        while True:
            port = self._port_of()
            if port is not None:
                with suppress(OSError, ValueError, IndexError):  # it has ended, or the kernel does not tell
                    self._waited_s = int(Path(f"/proc/{port.worker.pid}/schedstat").read_text().split()[1]) / 1e9
            await trio.sleep(0.02)


_port: ContextVar[list[Port] | None] = ContextVar("_port", default=None)


class Arena:
    """Use as a context manager, from a thread without an event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []  # all that scripts put out, and all that was audited
        self.host: Host
        self.echo: EchoModel
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
        (self.folder / "link.lua").symlink_to("/etc/passwd")
        self._thread.start()
        self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
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
        with EchoModel(key=SECRET) as self.echo:
            provider = Provider(name="echo", base_url=self.echo.url, key_env=KEY_ENV, model="echo-1")
            config = Config(providers={**PROVIDERS, "echo": provider}, provider="echo")
            async with Host(config, audit=self._audited, output=self._put_out) as self.host:
                self._tell_ports()
                victim = await self.host.load(
                    Source("return orcs.llm('VICTIM', {session_id = 'victim-session'}).ok"),
                    grants=[self.grant(), Grant.spawn(max_tree=12)],
                )
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
            ports = _port.get()
            if ports is not None:
                ports.append(port)
            return port

        pool.open = open  # type: ignore[method-assign]

    def _audited(self, record: dict[str, Any]) -> None:
        self.said.append(repr(record))

    def _put_out(self, vm: str, kind: str, text: str) -> None:
        self.said.append(text)

    @staticmethod
    def grant() -> Grant:
        return Grant.llm(providers=["echo"])

    def grants(self) -> list[Grant]:
        """What an attack holds: a model, children, and the files of the arena's folder, 4 MB of them."""
        files = [Grant(kind, roots=[str(self.folder)]) for kind in ("fs.read", "fs.delete")]
        files.append(Grant("fs.write", roots=[str(self.folder)], max_bytes=WRITTEN_BYTES))
        return [self.grant(), Grant.spawn(max_tree=12), *files]

    def source(self, text: str | bytes, name: str) -> Source:
        return Source(text, name, self.folder)

    async def fight(self, text: str, name: str, limits: Limits = LIMITS) -> Outcome:
        """The script as it is: its top level is the attack, then it is run."""
        ports: list[Port] = []
        _port.set(ports)
        vm, value, error = None, None, None
        async with trio.open_nursery() as nursery:
            watch = Stopwatch(nursery, lambda: ports[0] if ports else None)
            try:
                vm = await self.host.load(self.source(text, name), grants=self.grants(), limits=limits)
                value = await vm.run()
            except LuahostError as raised:
                error = raised
            watch.stop()
            nursery.cancel_scope.cancel()
        outcome = judge(value, error, ports[0] if ports else None, watch.wall_s)
        if vm is not None:
            await vm.close()
        return outcome

    async def fight_and_call_again(self, text: str, name: str, limits: Limits) -> tuple[Outcome, Any]:
        """The script as a run() of a table, so that the same VM can be asked for something afterwards."""
        head, _, rest = text.partition("\n")
        wrapped = PRELUDE + "return { run = function() " + head.removeprefix(PRELUDE) + "\n" + rest
        wrapped += "\nend, on_request = function(request) return request.payload + 1 end }"
        vm = await self.host.load(self.source(wrapped, name), grants=self.grants(), limits=limits)
        value, error, again = None, None, None
        async with trio.open_nursery() as nursery:
            watch = Stopwatch(nursery, lambda: vm._port)
            try:
                value = await vm.run()
            except LuahostError as raised:
                error = raised
            watch.stop()
            nursery.cancel_scope.cancel()
        outcome = judge(value, error, vm._port, watch.wall_s)
        try:
            again = await vm.request("add", 41)
        except LuahostError as raised:
            again = raised
        await vm.close()
        return outcome, again

    async def two(self) -> Any:
        """What a new VM says 1+1 is."""
        vm = await self.host.load(Source("return 1+1"), limits=LIMITS)
        try:
            return await vm.run()
        finally:
            await vm.close()
