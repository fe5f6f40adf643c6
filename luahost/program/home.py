"""Home: what all VMs of a host share, and how one VM has another made: a child, or one that evaluates a text.

A VM is made in three moves: a place in a worker, its share of the world, its top level. Host.load makes the roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import trio

from luahost.bridge.journal import Journal
from luahost.config import read_script
from luahost.errors import ConfigError, Exhausted, HostFault, LuahostError, Stopped
from luahost.gate.grants import Grant
from luahost.ops.board import Board
from luahost.ops.children.family import is_id
from luahost.ops.world import Share, World
from luahost.program.vm import Vm, parent_ended
from luahost.values import Limits, Source, Value
from luahost.workers.pool import Pool


class Home(NamedTuple):
    """One host's. `put_out(vm, kind, text)` takes what its VMs print; `vms` are the living roots."""

    world: World
    pool: Pool
    journal: Journal
    nursery: trio.Nursery
    put_out: Callable[[str, str, str], None]
    vms: set[Vm]

    async def spawn(  # noqa: PLR0917 - as Vm.spawn has them
        self,
        parent: Vm,
        id: str,
        script: str | Path | Source,
        grants: Iterable[Grant],
        limits: Limits | None,
        input: Value,
        restore: Value,
    ) -> Vm:
        """As Vm.spawn."""
        if not is_id(id):
            raise ConfigError(f"spawn: an id of 1 to 64 letters, digits, _, . and - expected, got {id!r}")
        if parent.has_child(id):
            raise ConfigError(f"spawn: there is a child {id!r} already", kind="already_exists")
        source = script if isinstance(script, Source) else await trio.to_thread.run_sync(read_script, script)
        source.lua()
        limits = parent.limits if limits is None else limits
        parent.check_cpu()
        parent._children.comes(id)
        try:
            port = await self.pool.open(limits, tree=parent._port.tree)
        except BaseException:
            parent._children.fails(id)
            raise
        share = Share(self.world, {}, source.directory, limits)
        share.board = Board(parent._share.board)
        child = Vm(self, f"{parent.name}/{id}", share, port, limits, parent=parent)
        parent._children.born(child)
        if parent.ended is not None:
            await child.end(parent_ended())
            raise parent.ended
        await child.begin(source, input, grants=grants, restore=restore)
        return child

    async def evaluate(
        self, caller: Vm, script: Source, input: Value, limits: Limits, say: Callable[[str], None]
    ) -> tuple[Value, LuahostError | None, float]:
        """As Vm.evaluate."""
        port = await self.pool.open(limits)
        share = Share(self.world, {}, None, limits)
        share.evaluates = True
        home = self._replace(put_out=lambda vm, kind, text: say(text))
        vm = Vm(home, f"{caller.name}/(eval)", share, port, limits)
        began_s = trio.current_time()
        value: Value = None
        failed: LuahostError | None = None
        try:
            await vm.begin(script, None)
            value = await vm._activations.run("run", input)
        except LuahostError as error:
            failed = error
        finally:
            spent_s = vm.usage.cpu_s
            if isinstance(failed, Exhausted | HostFault):  # a worker that is killed does not say what it used
                spent_s = max(spent_s, trio.current_time() - began_s)
            caller.charge(spent_s)
            await vm.end(Stopped("it is over", kind="closed"))
        return value, failed, spent_s
