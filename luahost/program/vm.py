"""A loaded script, as Python sees it: what it holds, how it is called, signalled and ended, and its children.

Made by Host.load, or as a child by Vm.spawn (home.py). What goes on inside an activation is activations.py's, what
the script offers is script.py's, what it may do is the bridge's. A VM ends in two moves: at once nothing of it, or
below it, can happen any more; then its worker goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from luahost.bridge.calls import Bridge
from luahost.bridge.journal import Trail
from luahost.bridge.ladder import Ladder
from luahost.config import one_of_each
from luahost.errors import ConfigError, LuahostError, ScriptError, Stopped
from luahost.gate.grants import Grant
from luahost.ops.children.tickets import Tickets
from luahost.ops.world import Share
from luahost.program.activations import CANCEL_GRACE_S, Activations
from luahost.program.children import Children, Tree
from luahost.program.outcomes import is_response, unwrapped
from luahost.program.script import Answered, Intent, Script, answered
from luahost.program.sessions import Sessions
from luahost.program.turn import Turn
from luahost.standing import Held, Standing, Status, Usage
from luahost.values import Limits, Source, Value
from luahost.workers.worker import Port

if TYPE_CHECKING:
    from luahost.program.home import Home

SHUTDOWN_S = 1.0
"""What a script's shutdown() may take."""

SIGNALS = ("Veto", "Cancel", "Shutdown", "Pause", "Resume", "Steer", "Approve", "Reject", "Modify")
ENDING = ("Veto", "Cancel")
"""The signals that end what is under way, whatever the script says to them."""

_log = logging.getLogger("luahost.output")


class Vm:
    """A loaded script. Made by Host.load, or by spawn() of its parent."""

    def __init__(
        self, home: Home, name: str, share: Share, port: Port, limits: Limits, *, parent: Vm | None = None
    ) -> None:
        self.name = name
        self.id = name if parent is None else name.rpartition("/")[2]
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.limits = limits
        self.sessions = Sessions(share.sessions)
        self._children: Children[Vm] = Children(Tree() if parent is None else parent._children.tree)
        self._home, self._port, self._share = home, port, share
        share.depth, share.caught_up = self.depth, port.caught_up
        share.program, share.tickets = self, Tickets(home.nursery, limits.value_bytes)
        self._ladder = Ladder(name, share, Trail(home.journal, name, home.world.now_s))
        self._bridge = Bridge(self._ladder, port, home.nursery)
        self._activations = Activations(
            self._bridge, port, limits, home.nursery, self._put_out, self._over, self._used_cpu
        )
        self._script = Script(name, self._activations)
        self._turn = Turn(name)
        self._begun = False
        self._stopping = False
        self._error = ""
        self._gone = trio.Event()

    # ── what it holds ───────────────────────────────────────────────────────────────────────────────────

    def grant(self, grant: Grant) -> None:
        """Gives the VM a grant, from now on; one of the same kind is replaced.

        Calls under way go on under the grant they began with; revoke first to end them. What children were handed
        on from the grant that is replaced ends. A child takes only what its parent delegates.
        """
        if self.parent is not None and not self.parent._ladder.holdings.gave(grant):
            raise ConfigError(
                f"grant {grant}: {self.name} is a child; vm.parent.delegate({grant.kind!r}) makes what it can hold",
                kind="capability_widening",
            )
        self._ladder.grant(grant)

    def revoke(self, kind: str) -> None:
        """Takes the grant of this kind away, here and from all below, for good; ends the calls under way.

        Nothing happens if there is none.
        """
        self._ladder.revoke(kind)
        for child in self._children.living.values():
            child._cut(kind)

    def _cut(self, kind: str) -> None:
        self._ladder.cut(kind, "the grant it was handed on from was revoked")
        for child in self._children.living.values():
            child._cut(kind)

    def delegate(self, kind: str, **constraints: Any) -> Grant:
        """A grant for a child: as this VM's own, or narrower, on the same budget; it ends with this VM's own.

        ConfigError (capability_widening) when this VM holds none, or a narrower one.
        """
        return self._ladder.holdings.delegate(kind, constraints)

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What it holds, by kind."""
        return dict(self._share.grants)

    @property
    def usage(self) -> Usage:
        """What the VM has used so far; a copy."""
        usage = msgspec.structs.replace(self._activations.usage)
        usage.calls, usage.denied = self._bridge.calls, self._ladder.denied
        return usage

    @property
    def waiting_for(self) -> list[str]:
        """The host calls that are under way, by operation ("llm", "clock.sleep"), oldest first."""
        return self._bridge.waiting_for

    @property
    def status(self) -> Status:
        ended = self._activations.ended
        if ended is not None:
            if ended.kind == "closed":
                return "Completed"
            return "Aborted" if isinstance(ended, Stopped) else "Error"
        if not self._begun:
            return "Initializing"
        if self._turn.paused:
            return "Paused"
        if self._bridge.asking:
            return "AwaitingApproval"
        if len(self._activations):
            return "Running"
        return "Error" if self._error else "Idle"

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, input: Value = None) -> Value:
        """Calls the script: run(input) of its table, on_request, or the function it returned; else its value.

        Raises ScriptError, Denied, Exhausted, Stopped, WorldError or HostFault.
        """
        if not self._script.can_run:
            raise ScriptError(f"{self.name} has no run(input) and no on_request(req)", kind="not_runnable")
        result = await self._call("run", input)
        return unwrapped(result) if is_response(result, needs_success=True) else result

    async def request(self, operation: str, payload: Value = None, *, category: str = "UserInput") -> Value:
        """Calls on_request{id, operation, category, payload}; its data, or ScriptError with its error."""
        request = {
            "id": f"req-{self._activations.last + 1}",
            "operation": operation,
            "category": category,
        } | ({} if payload is None else {"payload": payload})
        result = await self._call("request", request)
        return unwrapped(result) if is_response(result, needs_success=False) else result

    async def intents(self) -> list[Intent]:
        """Those that the script registered and has not taken away; does not wait for what is under way."""
        return await self._script.intents()

    async def dispatch(self, name: str, arguments: dict[str, Value]) -> Answered:
        """Calls one of them, as a model's call is: what goes wrong in it is an answer. Raises what run raises."""
        return answered(await self._call("intent", {"name": name, "arguments": arguments}))

    async def _call(self, entry: str, arg: Value) -> Value:
        """Runs and requests: one after another, and none while the VM is paused."""
        turn = self._turn.taken()
        try:
            async with turn:
                if self.parent is not None:
                    self.parent.check_cpu()
                result = await self._activations.run(entry, arg)
        except BaseException as error:
            if isinstance(error, LuahostError):
                self._error = error.message
            if isinstance(error, Stopped | trio.Cancelled):  # given up: so is what it sent and did not wait for
                self._share.tickets.cancel()
            raise
        finally:
            if self._stopping and self.ended is None:
                self._home.nursery.start_soon(self.close)
        self._error = ""
        return result

    async def signal(self, kind: str, reason: str | None = None, *, approval_id: str | None = None) -> str:
        """Calls on_signal{kind, scope, reason, approval_id}, also while a run waits: Handled, Ignored or Abort.

        Veto and Cancel end what is under way here and below, within 100 ms, whatever the script says; it can be
        called again. Pause lets no run or request begin until Resume. Shutdown closes the VM without asking. After
        Abort the VM is closed (a root's answer to Veto counts as Handled).
        """
        if kind not in SIGNALS:
            raise ConfigError(f"signal: one of {', '.join(SIGNALS)} expected, got {kind!r}")
        if kind == "Shutdown":
            await self.close()
            return "Handled"
        if kind == "Pause" and self.ended is None:
            self._turn.pause()
        if kind == "Resume":
            self._turn.resume()
        if kind not in ENDING:
            return await self._told(kind, reason, approval_id)
        answer, failed = "Ignored", None
        try:
            with trio.move_on_after(CANCEL_GRACE_S):
                async with trio.open_nursery() as nursery:
                    for child in self._children.living.values():
                        nursery.start_soon(child._overhears, kind, reason)
                    try:
                        answer = await self._told(kind, reason, approval_id)
                    except LuahostError as error:  # not through the nursery, which would make a group of it
                        failed = error
        finally:
            self._stop(Stopped(f"ended by the signal {kind}"))
        if failed is not None:
            raise failed
        return answer

    async def _told(self, kind: str, reason: str | None, approval_id: str | None = None) -> str:
        """What the script answers to a signal; after Abort it is over."""
        answer = await self._script.signal(kind, reason, approval_id)
        if answer == "Abort" and kind == "Veto" and self.parent is None:
            return "Handled"
        if answer == "Abort":
            await self.end(Stopped("the script answered a signal with Abort", kind="aborted"))
        return answer

    async def _overhears(self, kind: str, reason: str | None) -> None:
        """An ancestor was signalled: what goes wrong here is not its caller's."""
        try:
            await self.signal(kind, reason)
        except LuahostError as error:
            _log.warning("%s: on_signal failed: %s", self.name, error.message)

    def _stop(self, why: LuahostError) -> None:
        """Ends what is under way, here and below."""
        self._share.tickets.cancel()
        self._activations.cancel(why)
        for child in list(self._children.living.values()):
            child._stop(why)

    async def snapshot(self) -> Value:
        """What snapshot() of the script returns, marked with its id, for `restore` of a later load or spawn."""
        return await self._script.snapshot()

    # ── children ────────────────────────────────────────────────────────────────────────────────────────

    async def spawn(
        self,
        id: str,
        script: str | Path | Source,
        *,
        grants: Iterable[Grant] = (),
        limits: Limits | None = None,
        input: Value = None,
        restore: Value = None,
    ) -> Vm:
        """A child: a VM of its own below this one, which ends with this one. As Host.load.

        `grants` are made by delegate(). ConfigError when the id is taken or none, or a grant is not of this VM.
        """
        return await self._home.spawn(self, id, script, grants, limits, input, restore)

    async def evaluate(
        self, script: Source, input: Value, limits: Limits, say: Callable[[str], None]
    ) -> tuple[Value, LuahostError | None, float]:
        """What the function that the script returns makes of the input, or how it failed, and its CPU seconds.

        In a VM of its own that holds nothing, is no child, and is gone afterwards. `say` takes what it prints.
        """
        return await self._home.evaluate(self, script, input, limits, say)

    def board(self, count: int = 100) -> list[dict[str, Any]]:
        """The last events told here and below, the oldest first."""
        return self._share.board.last(count)

    def stop_soon(self) -> None:
        """Closes it once its run or request under way is done."""
        self._stopping = True

    @property
    def children(self) -> Mapping[str, Vm]:
        """The living ones, by id, oldest first."""
        return self._children.living

    @property
    def past(self) -> Mapping[str, Standing]:
        """How the last children stood when they ended, by id."""
        return self._children.past

    @property
    def living(self) -> int:
        return len(self._children)

    @property
    def tree_size(self) -> int:
        return self._children.tree.living

    def has_child(self, id: str) -> bool:
        return id in self._children

    def make_room(self, id: str, limit: int) -> None:
        """Reaps children whose last call failed: the one whose id is wanted, and the oldest if the place is."""
        for name, child in list(self._children.living.items()):
            if child.status == "Error" and (name == id or self.living >= limit):
                child._activations.end(Stopped("it had failed, and its place was wanted", kind="failed"))

    def standing(self) -> Standing:
        """Where it stands now, and those below it."""
        ended = self._activations.ended
        return Standing(
            id=self.id,
            name=self.name,
            status=self.status,
            waiting_for=self.waiting_for,
            usage=self.usage,
            grants={
                kind: Held(str(grant), grant.is_revoked or taken, grant.usage(), grant.remaining())
                for kind, (grant, taken) in self._ladder.holdings.ever().items()
            },
            over=ended is not None,
            error=self._error or (ended.message if ended is not None and ended.kind != "closed" else ""),
            children=self._children.standings(),
            forgotten=self._children.forgotten,
        )

    # ── its end ─────────────────────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Calls the script's shutdown() if it has one, for at most a second; then its children's; then nothing of
        it is left."""
        if self.ended is None:
            with trio.move_on_after(SHUTDOWN_S):
                await self._script.hear("shutdown")
        if self._children.living:
            async with trio.open_nursery() as nursery:
                for child in self._children.living.values():
                    nursery.start_soon(child.close)
        await self.end(Stopped("the VM was closed", kind="closed"))

    async def cancel(self, reason: str = "") -> None:
        """Ends it now. Its on_signal hears Cancel and its abort() is called, in 50 ms together."""
        with trio.move_on_after(CANCEL_GRACE_S):
            await self._script.hear("on_signal", {"kind": "Cancel", "scope": "component"})
            await self._script.hear("abort")
        await self.end(Stopped(reason or "it was cancelled", kind="aborted"))

    async def end(self, why: LuahostError) -> None:
        """At once, without asking the script; nothing of it is left then."""
        self._activations.end(why)
        with trio.CancelScope(shield=True):
            await self._gone.wait()

    def _over(self) -> None:
        """Nothing can begin any more, whatever the reason: the same for all below, and the parent's books."""
        self._turn.resume()
        self._share.tickets.cancel()
        for child in list(self._children.living.values()):
            child._activations.end(parent_ended())
        if self.parent is not None:
            self.parent._children.ended(self)
        self._home.nursery.start_soon(self._release)

    async def _release(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._home.pool.close(self._port)
                for child in list(self._children.leaving):
                    await child._gone.wait()
        finally:
            self._home.vms.discard(self)
            if self.parent is not None:
                self.parent._children.leaving.discard(self)
            self._gone.set()

    # ── for those who make VMs ──────────────────────────────────────────────────────────────────────────

    async def begin(
        self,
        source: Source,
        input: Value,
        *,
        grants: Iterable[Grant] = (),
        restore: Value = None,
        opened: Callable[[Vm], None] | None = None,
    ) -> None:
        """Runs the script's top level with its grants in place, restore() if there is something, and init()."""
        try:
            for grant in one_of_each(grants):
                self.grant(grant)
            if opened is not None:
                opened(self)
            await self._script.load(source, input)
            if restore is not None:
                await self._script.restore(restore)
            await self._script.handle("init")
            self._begun = True
        except BaseException as error:
            await self.end(error if isinstance(error, LuahostError) else Stopped("loading was ended"))
            raise

    @property
    def ended(self) -> LuahostError | None:
        """Why nothing can begin any more; None while it lives."""
        return self._activations.ended

    def check_cpu(self) -> None:
        """Before one below begins something: Exhausted when those below have used up the CPU of this one or one
        above it."""
        for each in self._line():
            each._activations.check_below()

    def charge(self, cpu_s: float) -> None:
        """CPU used on its behalf, which is also that of all above it."""
        for each in self._line():
            each._activations.charge(cpu_s)

    def _line(self) -> Iterator[Vm]:
        """This one and all above it."""
        at: Vm | None = self
        while at is not None:
            yield at
            at = at.parent

    def _used_cpu(self, cpu_s: float) -> None:
        if self.parent is not None:
            self.parent.charge(cpu_s)

    def _put_out(self, kind: str, text: str) -> None:
        self._home.put_out(self.name, kind, text)


def parent_ended() -> Stopped:
    return Stopped("its parent ended", kind="aborted")
