"""The host: the Python surface. Loads scripts into VMs, grants, runs, revokes, closes.

    async with luahost.Host(config) as host:
        vm = await host.load("agent.lua", grants=[Grant.llm(max_calls=5)])
        answer = await vm.run({"text": "…"})

`run` does the same in one blocking call, from any thread and from inside asyncio programs.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import trio

from luahost import config as configuration
from luahost.bridge.journal import Journal, Sink
from luahost.config import Config
from luahost.errors import Stopped, WorldError
from luahost.gate.grants import Grant
from luahost.ops.approval import Approver
from luahost.ops.mcp.servers import McpServers
from luahost.ops.world import Share, World
from luahost.program.home import Home
from luahost.program.vm import SHUTDOWN_S, Vm
from luahost.standing import Standing
from luahost.values import Limits, Source, Value
from luahost.workers.pool import Pool
from luahost.workers.zygote import Zygote

Output = Callable[[str, str, str], None]
"""output(vm, kind, text): kind is print, output or log.LEVEL; control characters are already shown as text."""

_log = logging.getLogger("luahost.output")


class Host:
    """Holds VMs, keys and the network; made for `async with`, inside trio.

    config   a Config, the path of a configuration file, or None
    audit    a path (JSON lines, appended) or a callable given each record as a dict
    output   what print, orcs.output and orcs.log of scripts go to; None: the logger "luahost.output"
    approver async (ApprovalRequest) → AllowOnce | AllowFor | Deny, for grants with approve="ask"; None: always no
    approval_timeout_s  how long it may take; then the answer is no
    """

    def __init__(
        self,
        config: Config | str | Path | None = None,
        *,
        audit: str | Path | Sink | None = None,
        output: Output | None = None,
        approver: Approver | None = None,
        approval_timeout_s: float = math.inf,
    ) -> None:
        self.config = configuration.load(config)
        self._audit, self._output = audit, output
        self._approver, self._approval_timeout_s = approver, approval_timeout_s
        self._zygote: Zygote | None = None
        self._rng = random.Random(secrets.randbits(128))  # noqa: S311 - seeds scripts' math.random, guards nothing
        self._vms: set[Vm] = set()
        self._names: dict[str, int] = {}

    def prepare(self, zygote: Zygote | None = None) -> Host:
        """Starts the zygote ahead of `async with`: it boots while the program still imports.

        Or takes over one that was started even before this module was imported.
        """
        if self._zygote is None:
            self._zygote = zygote or Zygote()
        return self

    async def __aenter__(self) -> Host:
        config = self.config
        mcp = McpServers(config.mcp, self._begin)
        self._world = World(config.providers, config.provider, config.model, self._rng, config.transport, mcp)
        self._journal = Journal(self._audit)
        # Entered by hand: an error inside the caller's block shall reach the caller as it is, not in a group.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self.prepare()
        assert self._zygote is not None
        self._world.approver, self._world.approval_timeout_s = self._approver, self._approval_timeout_s
        self._nursery.start_soon(self._world.pace.run)
        self._pool = Pool(self._nursery, self._zygote, self._rng, self._world.pace)
        self._nursery.start_soon(self._pool.watch)
        self._home = Home(self._world, self._pool, self._journal, self._nursery, self._put_out, self._vms)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            with trio.move_on_after(SHUTDOWN_S):
                async with trio.open_nursery() as nursery:
                    for vm in list(self._vms):
                        nursery.start_soon(vm.close)
        finally:
            with trio.CancelScope(shield=True):
                for vm in list(self._vms):
                    await vm.end(Stopped("the host was closed", kind="closed"))
                await self._world.close()
                await self._pool.end()
            self._nursery.cancel_scope.cancel()
            self._journal.close()
            self._zygote = None
            await self._manager.__aexit__(None, None, None)

    async def load(
        self,
        script: str | Path | Source,
        *,
        name: str | None = None,
        grants: Iterable[Grant] = (),
        limits: Limits | None = None,
        input: Value = None,
        restore: Value = None,
        opened: Callable[[Vm], None] | None = None,
        ceiling: Iterable[Grant] = (),
    ) -> Vm:
        """Compiles the script and runs its top level, with its grants in place, and init() if it has one.

        `input` is what the top level sees as `...`; `restore`, a Vm.snapshot(), is given to restore() before init.
        `ceiling`: what orcs.request_capability may ask the approver for, at most; nothing without.
        `opened` is called with the VM before any of the script runs: to load sessions, or to hold the VM of a
        script that fails on the way. Raises ConfigError (no such file, bytecode …), ScriptError (syntax, an error
        at the top level), and what a run raises.
        """
        if isinstance(script, Source):
            source = script
        else:
            source = await trio.to_thread.run_sync(configuration.read_script, script)
        source.lua()  # what is wrong with it is said before a VM exists
        held = configuration.one_of_each(grants)
        limits = limits if limits is not None else self.config.limits
        port = await self._pool.open(limits)
        share = Share(self._world, {}, source.directory, limits)
        share.ceiling = {grant.kind: grant for grant in configuration.one_of_each(ceiling)}
        vm = Vm(self._home, self._name(name or source.name.removesuffix(".lua")), share, port, limits)
        self._vms.add(vm)
        await vm.begin(source, input, grants=held, restore=restore, opened=opened)
        return vm

    @property
    def audit_error(self) -> WorldError | None:
        """Why the audit cannot be written any more; from then on no call under a grant is made."""
        broken = self._journal.broken
        return None if broken is None else WorldError(broken, kind="io")

    def tree(self) -> list[Standing]:
        """Where each VM stands, with those below it."""
        return [vm.standing() for vm in self._vms]

    def _begin(self, *task: Any) -> None:
        """A task that lives as long as the host."""
        self._nursery.start_soon(*task)

    def _name(self, wanted: str) -> str:
        count = self._names[wanted] = self._names.get(wanted, 0) + 1
        return wanted if count == 1 else f"{wanted}#{count}"

    def _put_out(self, vm: str, kind: str, text: str) -> None:
        if self._output is not None:
            self._output(vm, kind, text)
        else:
            _log.info("%s %s: %s", vm, kind, text.rstrip("\n"))


# ── blocking ────────────────────────────────────────────────────────────────────────────────────────────


def run(
    script: str | Path | Source,
    input: Value = None,
    *,
    grants: Iterable[Grant] = (),
    limits: Limits | None = None,
    config: Config | str | Path | None = None,
) -> Value:
    """Loads the script, runs it once, closes everything; returns the script's result as plain values.

    Blocks; works from any thread and from inside asyncio and trio programs. What the script prints goes to
    stdout. Raises what Host.load and Vm.run raise.
    """

    async def once() -> Value:
        async with Host(config, output=_to_stdout) as host:
            vm = await host.load(script, grants=grants, limits=limits, input=input)
            return await vm.run(input)

    return blocking(once)


def blocking(function: Callable[[], Any]) -> Any:
    """Runs an async function in an event loop of its own, in a thread if this one already has a loop."""
    if not _in_event_loop():
        return trio.run(function)
    outcome: list[Any] = []

    def in_thread() -> None:
        try:
            outcome.extend((True, trio.run(function)))
        except BaseException as error:  # carried over to the caller's thread
            outcome.extend((False, error))

    thread = threading.Thread(target=in_thread, name="luahost.run")
    thread.start()
    thread.join()
    ok, value = outcome
    if ok:
        return value
    raise value


def _in_event_loop() -> bool:
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:  # not in one of trio's; asyncio's is no reason to import asyncio
        pass
    else:
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _to_stdout(vm: str, kind: str, text: str) -> None:
    if not kind.startswith("log."):
        sys.stdout.write(text)
        sys.stdout.flush()
