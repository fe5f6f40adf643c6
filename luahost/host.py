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

import msgspec
import trio

from luahost import config as configuration
from luahost.bridge import Bridge
from luahost.config import Config
from luahost.errors import ConfigError, LuahostError, Stopped
from luahost.gate.grants import Grant
from luahost.journal import Journal, Sink
from luahost.ops.sessions import Mode, Store
from luahost.ops.world import Share, World
from luahost.outcomes import error_of, is_response, shown, unwrapped
from luahost.values import MAX_DEPTH, Limits, Source, Value, deeper_than
from luahost.vm import frames
from luahost.workers.pool import Pool
from luahost.workers.worker import Port
from luahost.workers.zygote import Zygote

Output = Callable[[str, str, str], None]
"""output(vm, kind, text): kind is print, output or log.LEVEL; control characters are already shown as text."""

SHUTDOWN_S = 1.0
"""What a script's shutdown() may take."""
OUTPUT_SPARE = 64 * 1024
"""What a worker may send over its VM's output limit before it is taken for a lying one."""
CANCEL_GRACE_S = 0.05
"""How long a cancelled activation's step may go on before its worker is ended."""

SIGNALS = ("Veto", "Cancel", "Shutdown", "Pause", "Resume", "Steer", "Approve", "Reject", "Modify")

_log = logging.getLogger("luahost.output")


class Usage(msgspec.Struct):
    """What a VM has used in its life, against its Limits.

    The heap is measured at the end of each step; wall_s is the activations' time, waits included;
    largest_value_bytes is the largest input or result, encoded.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_bytes: int = 0
    memory_peak_bytes: int = 0
    output_bytes: int = 0
    output_dropped_bytes: int = 0
    largest_value_bytes: int = 0
    activations: int = 0
    calls: int = 0
    denied: int = 0


class Sessions:
    """A VM's LLM sessions, from outside."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def dump(self) -> str:
        """All sessions as JSON text: {"sess-…": [{"role", "content"}, …]}."""
        return self._store.dump()

    def load(self, text: str | bytes, mode: Mode = "replace") -> int:
        """Takes sessions from a dump: replace, merge or skip. How many were taken; ConfigError changes nothing."""
        return self._store.load(text, mode)

    def __len__(self) -> int:
        return len(self._store)


class _Activation:
    """One task of a VM, and who waits for it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.value: Value = None
        self.error: LuahostError | None = None

    def end(self, value: Value = None, error: LuahostError | None = None) -> None:
        if not self.done.is_set():
            self.value, self.error = value, error
            self.done.set()


class Vm:
    """A loaded script. Made by Host.load."""

    def __init__(self, host: Host, name: str, share: Share, port: Port, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.sessions = Sessions(share.sessions)
        self._host, self._port = host, port
        self._bridge = Bridge(name, share, port, host._nursery, host._journal)
        self._usage = Usage()
        self._tasks: dict[int, _Activation] = {}
        self._last_task = 0
        self._turn = trio.Lock()  # runs and requests come one after another; signals do not wait
        self._has: dict[str, bool] = {}
        self._output_left = 0  # characters that this activation may still bring; the VM's own limit comes first
        self._closed: LuahostError | None = None
        port.on_step, port.on_output, port.on_lost = self._stepped, self._put_out, self._lost

    # ── public ──────────────────────────────────────────────────────────────────────────────────────────

    def grant(self, grant: Grant) -> None:
        """Gives the VM a grant, from now on; one of the same kind is replaced.

        Calls under way go on under the grant they began with; revoke first to end them.
        """
        self._bridge.grant(grant)

    def revoke(self, kind: str) -> None:
        """Takes the grant of this kind away and ends its calls under way. Nothing happens if there is none."""
        self._bridge.revoke(kind)

    @property
    def usage(self) -> Usage:
        """What the VM has used so far; a copy."""
        usage = msgspec.structs.replace(self._usage)
        usage.calls, usage.denied = self._bridge.calls, self._bridge.denied
        return usage

    @property
    def waiting_for(self) -> list[str]:
        """The host calls that are under way, by operation ("llm", "clock.sleep"), oldest first."""
        return self._bridge.waiting_for

    async def run(self, input: Value = None) -> Value:
        """Calls the script: run(input) of its table, on_request, or the function it returned; else its value.

        Raises ScriptError, Denied, Exhausted, Stopped, WorldError or HostFault.
        """
        async with self._turn:
            result = await self._activate("run", input)
        return unwrapped(result) if is_response(result, needs_success=True) else result

    async def request(self, operation: str, payload: Value = None, *, category: str = "UserInput") -> Value:
        """Calls on_request{id, operation, category, payload}; its data, or ScriptError with its error."""
        request = {
            "id": f"req-{self._last_task + 1}",
            "operation": operation,
            "category": category,
        } | ({} if payload is None else {"payload": payload})
        async with self._turn:
            result = await self._activate("request", request)
        return unwrapped(result) if is_response(result, needs_success=False) else result

    async def signal(self, kind: str, reason: str | None = None) -> str:
        """Calls on_signal{kind, scope, reason} at once, also while a run waits: Handled, Ignored or Abort.

        Shutdown closes the VM without asking. After Abort (Veto cannot be answered so) the VM is closed.
        """
        if kind not in SIGNALS:
            raise ConfigError(f"signal: one of {', '.join(SIGNALS)} expected, got {kind!r}")
        if kind == "Shutdown":
            await self.close()
            return "Handled"
        if not self._has.get("on_signal"):
            return "Ignored"
        signal = {"kind": kind, "scope": "component"} | ({} if reason is None else {"reason": reason})
        said = await self._activate("handler", {"name": "on_signal", "arg": signal})
        answer = said.capitalize() if isinstance(said, str) else ""
        if answer == "Abort" and kind == "Veto":
            answer = "Handled"
        if answer == "Abort":
            await self._end(Stopped("the script answered a signal with Abort", kind="aborted"))
        return answer if answer in ("Handled", "Abort") else "Ignored"

    async def close(self) -> None:
        """Calls the script's shutdown() if it has one, for at most a second; then nothing of the VM is left."""
        if self._closed is None and self._has.get("shutdown"):
            with trio.move_on_after(SHUTDOWN_S):
                try:
                    await self._activate("handler", {"name": "shutdown"})
                except LuahostError as error:
                    _log.warning("%s: shutdown failed: %s", self.name, error.message)
        await self._end(Stopped("the VM was closed", kind="closed"))

    # ── activations ─────────────────────────────────────────────────────────────────────────────────────

    async def _load(self, source: Source, input: Value) -> None:
        spec = {"source": source.lua(), "name": source.name, "input": input}
        described = await self._activate("load", spec)
        has = described.get("has") if isinstance(described, dict) else None
        self._has = dict(has) if isinstance(has, dict) else {}
        if self._has.get("init"):
            await self._activate("handler", {"name": "init"})

    async def _activate(self, entry: str, arg: Value) -> Value:
        if self._closed is not None:
            raise self._closed
        try:
            message = frames.start(self._last_task + 1, entry, arg, self._host._world.now_s())
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ConfigError(f"{entry}: a value of JSON's types expected: {error}") from None
        if deeper_than(arg, MAX_DEPTH):
            raise ConfigError(f"{entry}: a value nested at most {MAX_DEPTH} deep expected")
        if len(message) > self.limits.value_bytes:
            raise ConfigError(
                f"{entry}: a value of at most {self.limits.value_bytes} bytes expected, got {len(message)}"
            )
        if not self._tasks:
            self._port.worker.begin_activation()
            self._bridge.noes.clear()
            self._output_left = 2 * self.limits.output_bytes + OUTPUT_SPARE
        self._last_task += 1
        self._usage.activations += 1
        task, activation = self._last_task, _Activation()
        self._tasks[task] = activation
        wall_s, began = self.limits.wall_s, trio.current_time()
        self._usage.largest_value_bytes = max(self._usage.largest_value_bytes, len(message))
        try:
            self._port.send(message)
            with trio.move_on_after(math.inf if wall_s is None else wall_s) as deadline:
                await activation.done.wait()
            if deadline.cancelled_caught and not activation.done.is_set():
                raise Stopped(f"the wall clock limit of {wall_s:g} s is used up", kind="deadline_exceeded")
        finally:
            self._usage.wall_s += trio.current_time() - began
            self._tasks.pop(task, None)
            if not activation.done.is_set():
                self._abandon(task)
        if activation.error is not None:
            raise activation.error
        return activation.value

    def _abandon(self, task: int) -> None:
        """Nobody waits for the task any more: its calls end now, its coroutine too or else its worker."""
        self._bridge.drop(task)
        self._port.send(frames.cancel(task, self._host._world.now_s()))
        self._host._nursery.start_soon(self._insist, self._port.steps_done + self._port.steps_open)

    async def _insist(self, steps: int) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(CANCEL_GRACE_S)
        if self._port.lost is None and self._port.steps_done < steps and self._port.alone:
            self._port.worker.kill(Stopped("the script did not end when it was cancelled", kind="cancelled"))

    async def _end(self, why: LuahostError) -> None:
        if self._closed is None:
            self._closed = why
            self._finish(why)
        with trio.CancelScope(shield=True):
            await self._host._pool.close(self._port)
        self._host._vms.discard(self)

    def _finish(self, why: LuahostError) -> None:
        self._bridge.drop(0)
        for activation in list(self._tasks.values()):
            activation.end(error=why)

    # ── what the worker says ────────────────────────────────────────────────────────────────────────────

    def _stepped(self, wants: list[frames.Want]) -> None:
        for want in wants:
            if isinstance(want, frames.Call):
                self._bridge.begin(want)
            elif isinstance(want, frames.Ack):
                self._bridge.ack(want)
            elif isinstance(want, frames.Done):
                activation = self._tasks.get(want.task)
                self._bridge.drop(want.task)
                if activation is not None:
                    size = len(bytes(want.value))
                    self._usage.largest_value_bytes = max(self._usage.largest_value_bytes, size)
                    activation.end(frames.decode(want.value))
            elif isinstance(want, frames.Failed):
                self._failed(want)
            else:
                usage = self._usage
                usage.cpu_s += max(0, want.cpu_us) / 1e6
                usage.memory_bytes = max(0, want.memory_bytes)
                usage.memory_peak_bytes = max(usage.memory_peak_bytes, usage.memory_bytes)
                usage.output_bytes = max(usage.output_bytes, want.output_bytes)
                usage.output_dropped_bytes = max(usage.output_dropped_bytes, want.dropped_bytes)

    def _failed(self, failed: frames.Failed) -> None:
        error = error_of(failed, self._bridge.noes)
        dead = failed.kind in (b"cpu", b"memory", b"broken", b"killed")
        tasks = list(self._tasks) if failed.task == 0 or dead else [failed.task]
        for task in tasks:
            self._bridge.drop(task)
            if task in self._tasks:
                self._tasks[task].end(error=error)
        if dead and self._closed is None:
            self._closed = error
            self._finish(error)

    def _put_out(self, kind: str, text: str) -> None:
        self._output_left -= len(text) + 1
        if self._output_left < 0:
            raise frames.FrameError("more output than its VM may write")
        self._host._put_out(self.name, kind, shown(text, one_line=kind.startswith("log.")))

    def _lost(self, error: LuahostError) -> None:
        if self._closed is None:
            self._closed = error
        self._finish(error)


class Host:
    """Holds VMs, keys and the network; made for `async with`, inside trio.

    config   a Config, the path of a configuration file, or None
    audit    a path (JSON lines, appended) or a callable given each record as a dict
    output   what print, orcs.output and orcs.log of scripts go to; None: the logger "luahost.output"
    """

    def __init__(
        self,
        config: Config | str | Path | None = None,
        *,
        audit: str | Path | Sink | None = None,
        output: Output | None = None,
    ) -> None:
        self.config = configuration.load(config)
        self._audit, self._output = audit, output
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
        self._journal = Journal(self._audit)
        self._world = World(
            self.config.providers, self.config.provider, self.config.model, self._rng, self.config.transport
        )
        # Entered by hand: an error inside the caller's block shall reach the caller as it is, not in a group.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self.prepare()
        assert self._zygote is not None
        self._pool = Pool(self._nursery, self._zygote, self._rng)
        self._nursery.start_soon(self._pool.watch)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for vm in list(self._vms):
                with trio.move_on_after(SHUTDOWN_S):
                    await vm.close()
        finally:
            with trio.CancelScope(shield=True):
                for vm in list(self._vms):
                    await vm._end(Stopped("the host was closed", kind="closed"))
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
        opened: Callable[[Vm], None] | None = None,
    ) -> Vm:
        """Compiles the script and runs its top level, with its grants in place, and init() if it has one.

        `input` is what the top level sees as `...`. `opened` is called with the VM before any of the script
        runs: to load sessions, or to hold the VM of a script that fails on the way. Raises ConfigError (no such
        file, bytecode …), ScriptError (syntax, an error at the top level), and what a run raises.
        """
        held = configuration.one_of_each(grants)
        if isinstance(script, Source):
            source = script
        else:
            source = await trio.to_thread.run_sync(configuration.read_script, script)
        source.lua()  # what is wrong with it is said before a VM exists
        limits = limits if limits is not None else self.config.limits
        grants_held: dict[str, Grant] = {}
        share = Share(self._world, grants_held, source.directory)
        port = await self._pool.open(limits)
        vm = Vm(self, self._name(name or source.name.removesuffix(".lua")), share, port, limits)
        self._vms.add(vm)
        try:
            for grant in held:
                vm.grant(grant)
            if opened is not None:
                opened(vm)
            await vm._load(source, input)
        except BaseException:
            await vm._end(Stopped("loading failed", kind="closed"))
            raise
        return vm

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
    except RuntimeError:
        pass
    else:
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _to_stdout(vm: str, kind: str, text: str) -> None:
    if not kind.startswith("log."):
        sys.stdout.write(text)
        sys.stdout.flush()
