"""The bridge: where every call of a script is answered, and the only place where the gate is asked.

A ladder, top to bottom, one early exit each:

    known operation? ▶ answerer of this VM ▶ arguments of the right shape ▶ plan ▶ gate: permit + reservation
    ▶ approval, where the grant wants it ▶ the act ▶ audit ▶ reply

Each VM has its own table op → answerer. A gated op starts as the deny stub; grant() puts the real one in its
place, revoke() the stub back and ends the calls under way. Neither a script nor its worker can reach the table.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import msgspec
import trio

from luahost.bridge.journal import Journal, Record
from luahost.bridge.open_call import OpenCall
from luahost.bridge.syscalls import QUICK, SYSCALLS, Syscall, arguments
from luahost.errors import ConfigError, HostFault, LuahostError
from luahost.gate.constraints import KINDS
from luahost.gate.grants import Grant
from luahost.gate.holdings import Holdings
from luahost.gate.permits import Action, Permit
from luahost.gate.policy import Refusal, decide, expired, no_grant
from luahost.ops import results
from luahost.ops.approval import ApprovalRequest, must_ask
from luahost.ops.results import Result
from luahost.ops.world import Emit, Piece, Share
from luahost.vm import frames
from luahost.workers.worker import Port

_log = logging.getLogger("luahost.bridge")

Answerer = Callable[[Syscall, frames.Call, OpenCall], Awaitable[Any]]


class Bridge:
    """One VM's calls. `port` carries them; `nursery` runs those that wait."""

    def __init__(self, name: str, share: Share, port: Port, nursery: trio.Nursery, journal: Journal) -> None:
        self.name, self.share, self._port = name, share, port
        self._nursery, self._journal = nursery, journal
        self._grants: dict[str, Grant] = share.grants  # type: ignore[assignment]
        self._open: dict[int, OpenCall] = {}
        self._ending: dict[int, OpenCall] = {}  # nobody waits for them any more
        self._held_bytes = 0  # arguments of the calls under way; an honest VM has room for them itself
        self.holdings = Holdings(name, self._grants)
        self._flights: dict[str, set[OpenCall]] = {kind: set() for kind in KINDS}
        self._table: dict[str, Answerer] = {
            op: self._deny if row.capability else self._answer for op, row in SYSCALLS.items()
        }
        self.calls = 0
        self.denied = 0
        share.audit = self._audit_of
        self.noes: list[Result] = []  # failed calls of this activation, for the one who must act

    # ── grants ──────────────────────────────────────────────────────────────────────────────────────────

    def grant(self, grant: Grant) -> None:
        """Puts the real implementation of the grant's operations in place of the stub."""
        self.holdings.put(grant, self.share.world.monotonic_s())
        self.share.approvals.forget(grant.kind)
        self._swap(grant.kind, self._gated)

    def revoke(self, kind: str) -> None:
        """Puts the stub back and ends what is under way."""
        if kind not in KINDS:
            raise ConfigError(f"revoke: one of {', '.join(KINDS)} expected, got {kind!r}")
        self._swap(kind, self._deny)
        self.cut(kind, "the grant was revoked")
        self.holdings.take(kind)
        self.share.approvals.forget(kind)

    def cut(self, kind: str, why: str) -> None:
        """Ends the calls under way that need this kind."""
        gone = Refusal(kind="capability_revoked", message=f"{kind}: {why}", rule="revoked")
        for call in list(self._flights[kind]):
            call.end(gone)

    def _swap(self, kind: str, answerer: Answerer) -> None:
        for op, row in SYSCALLS.items():
            if row.capability == kind:
                self._table[op] = answerer

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, call: frames.Call) -> None:
        """A VM asked; the reply is sent when there is one. Raises HostFault when the worker must be lying."""
        if call.id in self._open or call.id in self._ending:
            raise HostFault("a call was numbered twice", kind="worker_lied")
        if len(self._open) >= frames.MAX_OPEN_CALLS or len(self._ending) >= 4 * frames.MAX_OPEN_CALLS:
            raise HostFault(f"more than {frames.MAX_OPEN_CALLS} calls at a time", kind="worker_lied")
        self.calls += 1
        op = call.op.decode(errors="replace")
        if op in QUICK and not self._ending:
            self._reply(call.id, self._at_once(SYSCALLS[op], call))
            return
        limits, size = self._port.limits, len(memoryview(call.args))
        if self._held_bytes and self._held_bytes + size > limits.memory_bytes:
            message = (
                f"calls under way hold {self._held_bytes} bytes of arguments; they may hold {limits.memory_bytes}"
            )
            self._reply(call.id, results.error("too_large", message))
            return
        self._held_bytes += size
        entry = self._open[call.id] = OpenCall(call)
        entry.after = tuple(self._ending.values())
        self._nursery.start_soon(self._run, call, entry)

    def ack(self, ack: frames.Ack) -> None:
        entry = self._open.get(ack.id)
        if entry is not None:
            entry.acked(ack.go_on)

    @property
    def waiting_for(self) -> list[str]:
        """The operations under way, oldest first."""
        return [entry.op for entry in self._open.values()]

    @property
    def asking(self) -> bool:
        """Whether a call waits for an approver."""
        return any(entry.asking for entry in self._open.values())

    def drop(self, task: int) -> None:
        """The VM's task is gone: so are its calls, and nobody waits for their replies."""
        for entry in list(self._open.values()):
            if task in (0, entry.task):
                self.forget(entry.id)

    def forget(self, id: int) -> None:
        """Nobody waits for this call any more, if there is one: it ends now.

        What the VM asks next finds its session free and its reservation given back.
        """
        entry = self._open.pop(id, None)
        if entry is not None:
            entry.over = trio.Event()
            self._ending[id] = entry
            entry.life.cancel()

    async def _run(self, call: frames.Call, entry: OpenCall) -> None:
        try:
            with entry.life:
                for each in entry.after:
                    assert each.over is not None
                    await each.over.wait()
                entry.after = ()
                result: Any = None
                with entry.scope:
                    result = await self._climb(call, entry)
                if entry.ended is not None:
                    result = self._ended(entry)
                await entry.taken()  # the script hears the end after what it was given before
                self._reply(entry.id, result)
        finally:
            self._held_bytes -= len(memoryview(call.args))
            self._open.pop(entry.id, None)
            if entry.over is not None:
                del self._ending[entry.id]
                entry.over.set()

    async def _climb(self, call: frames.Call, entry: OpenCall) -> Any:
        row = SYSCALLS.get(entry.op)
        if row is None:
            return results.error("not_found", f"no operation {entry.op[:80]!r}")
        try:
            if entry.op in QUICK:
                return self._at_once(row, call)
            return await self._table[entry.op](row, call, entry)
        except LuahostError as error:
            return results.error(error.kind, error.message)
        except Exception as error:  # a bug of ours ends this call, not the host with all its VMs
            _log.exception("%s: the host failed in %s", self.name, entry.op)
            return results.error("internal", f"the host failed in {entry.op} ({type(error).__name__})")

    def _reply(self, id: int, result: Any) -> None:
        if isinstance(result, dict) and result.get("ok") is False:
            self.noes.append(result)
            del self.noes[:-100]
        try:
            payload = frames.encode(result)
        except (TypeError, ValueError, OverflowError) as error:
            payload = frames.encode(results.error("internal", f"the answer cannot enter the VM: {error}"))
        limit = self._port.limits.value_bytes
        if len(payload) > limit:
            payload = frames.encode(
                results.error("too_large", f"the answer is {len(payload)} bytes; a value may have {limit}")
            )
        self._port.send(frames.reply(id, payload, self.share.world.now_s()))

    # ── answerers ───────────────────────────────────────────────────────────────────────────────────────

    def _at_once(self, row: Syscall, call: frames.Call) -> Any:
        """Operations that need neither a grant nor time."""
        try:
            return row.act(self.share, arguments(row.op, call.args))
        except msgspec.ValidationError as error:
            return results.from_validation(error, row.options)

    async def _answer(self, row: Syscall, call: frames.Call, entry: OpenCall) -> Any:
        """Operations that need no grant, and take time."""
        try:
            args = arguments(row.op, call.args)
        except msgspec.ValidationError as error:
            return results.from_validation(error, row.options)
        return await row.act(self.share, args)

    def _no_grant(self, kind: str) -> Refusal:
        return no_grant(kind, child=self.share.depth > 0)

    async def _deny(self, row: Syscall, call: frames.Call, entry: OpenCall) -> Result:
        """The stub: says no before it looks at anything."""
        assert row.capability is not None
        refusal = self._no_grant(row.capability)
        self._audit(self._record(row, call, refusal))
        return self._refused(results.refused(row.capability, refusal))

    async def _gated(self, row: Syscall, call: frames.Call, entry: OpenCall) -> Any:
        """Operations under a grant."""
        assert row.capability is not None and row.plan is not None
        try:
            args = arguments(row.op, call.args)
        except msgspec.ValidationError as error:
            return results.from_validation(error, row.options)
        plan = row.plan(self.share, args)
        if isinstance(plan, dict):
            return plan
        if isinstance(plan, Refusal):  # no gate is needed to see that it would be too much
            self._audit(self._record(row, call, plan))
            return self._refused(results.refused(row.capability, plan))
        world = self.share.world
        boarded: list[tuple[Permit[Any], Record]] = []
        result: Any = None
        began = world.monotonic_s()
        try:
            for action in (plan.action, *plan.also):
                permit, record = self._ask(row, call, action, began)
                if isinstance(permit, Refusal):
                    self._audit(record)
                    result = results.refused(action.kind, permit, **action.about())
                    return self._refused(result)
                boarded.append((permit, record))
                self._bind(entry, permit)
            first = boarded[0][0]
            first.also = tuple(permit for permit, _ in boarded[1:])
            lifetime = trio.CancelScope(deadline=_first_expiry(boarded))
            with lifetime if lifetime.deadline < math.inf else nullcontext():
                limits = getattr(plan, "deadlines", None)
                ends_s = math.inf if limits is None else began + limits.overall_s
                refusal = await self._approval(entry, row, call, boarded, ends_s)
                if refusal is not None:
                    result = results.refused(first.grant.kind, refusal, **plan.action.about())
                    return self._refused(result)
                emit = self._emitter(entry) if getattr(args, "streamed", False) else None
                result = await row.act(first, plan, args, self.share, emit)
                if emit is not None:
                    await entry.drain(self._sender(entry))
            if lifetime.cancelled_caught and entry.ended is None:
                entry.ended = expired(min((permit.grant for permit, _ in boarded), key=_expiry))
            return result
        finally:
            for permit, record in boarded:
                self._unbind(entry, permit)
                self._close_record(record, entry, result, began)

    def _ask(
        self, row: Syscall, call: frames.Call, action: Action, now_s: float
    ) -> tuple[Permit[Any] | Refusal, Record]:
        """The gate's word on one action, and the record of it."""
        grant = self._grants.get(action.kind)
        answer = self._no_grant(action.kind) if grant is None else decide(grant, action, now_s)
        refusal = answer if isinstance(answer, Refusal) else None
        record = self._record(row, call, refusal, action, grant)
        record.capability = action.kind
        return answer, record

    async def _approval(
        self,
        entry: OpenCall,
        row: Syscall,
        call: frames.Call,
        boarded: list[tuple[Permit[Any], Record]],
        ends_s: float,
    ) -> Refusal | None:
        """Asks the approver about each permit whose grant wants that; its reservation is held meanwhile."""
        for permit, record in boarded:
            if not must_ask(permit.grant):
                continue
            request = ApprovalRequest(
                vm=self.name,
                kind=permit.grant.kind,
                action=row.op,
                about=permit.action.about(),
                args=frames.decode(call.args),
                args_sha256=record.args_sha256,
            )
            refusal: Refusal | None = _too_late(permit.grant.kind)
            entry.asking = True
            try:
                with self.share.sessions.pending(request.args, request):
                    with trio.move_on_at(ends_s):
                        refusal = await self.share.approvals.refusal(request, permit.action.likeness())
            finally:
                entry.asking = False
            record.rule = "approved" if refusal is None else refusal.rule
            if refusal is not None:
                record.decision = "deny"
                return refusal
        return None

    def _bind(self, entry: OpenCall, permit: Permit[Any]) -> None:
        """From now on the end of the grant ends the call."""
        kind = permit.grant.kind
        self._flights[kind].add(entry)
        if permit.reservation is not None:
            permit.reservation.on_cancel = lambda why_kind, why: entry.end(
                Refusal(kind=why_kind, message=f"{kind}: {why}", rule="revoked")
            )

    def _unbind(self, entry: OpenCall, permit: Permit[Any]) -> None:
        self._flights[permit.grant.kind].discard(entry)
        if permit.reservation is not None:
            permit.reservation.release()  # does nothing when the act has settled it

    def _close_record(self, record: Record, entry: OpenCall, result: Any, began_s: float) -> None:
        record.ms = round((self.share.world.monotonic_s() - began_s) * 1000, 3)
        if isinstance(result, dict) and entry.ended is None:
            record.error_kind = result.get("error_kind", "")
            record.usage = result.get("usage", {})
            record.attempts = result.get("attempts", 0)
        else:
            record.error_kind = entry.ended.kind if entry.ended is not None else "cancelled"
        self._audit(record)

    def _emitter(self, entry: OpenCall) -> Emit:
        send = self._sender(entry)

        async def emit(piece: Piece) -> bool:
            return await entry.emit(piece, send)

        return emit

    def _sender(self, entry: OpenCall) -> Callable[[list[Piece]], None]:
        def send(pieces: list[Piece]) -> None:
            self._port.send(frames.events(entry.id, frames.encode(pieces), self.share.world.now_s()))

        return send

    def _ended(self, entry: OpenCall) -> Result:
        """The answer of a call that the gate ended: what the script already heard is in it."""
        assert entry.ended is not None
        partial = "".join(entry.said) or None
        capability = SYSCALLS[entry.op].capability or ""
        billed = "yes" if partial else "unknown"
        return self._refused(results.refused(capability, entry.ended, partial=partial, billed=billed))

    def _refused(self, result: Result) -> Result:
        self.denied += 1
        return result

    # ── audit ───────────────────────────────────────────────────────────────────────────────────────────

    def _record(
        self,
        row: Syscall,
        call: frames.Call,
        refusal: Refusal | None,
        action: Action | None = None,
        grant: Grant | None = None,
    ) -> Record:
        record = Record(
            ts=self.share.world.now_s(),
            seq=self._journal.next_seq(),
            vm=self.name,
            capability=row.capability or "",
            action=row.op,
            decision="allow" if refusal is None else "deny",
            rule="granted" if refusal is None else refusal.rule,
            args_sha256=hashlib.sha256(bytes(call.args)).hexdigest(),
        )
        if refusal is not None:
            record.error_kind = refusal.kind
        if action is not None:
            for name, value in action.about().items():
                setattr(record, name, value or "")
        if grant is not None:
            record.grant, record.grant_ids = str(grant), [each.id for each in grant.chain()]
        return record

    def _audit_of(self, **fields: Any) -> None:
        """A decision that was made elsewhere than on the ladder."""
        decision = {"decision": "allow", "rule": "granted", **fields}
        self._audit(Record(ts=self.share.world.now_s(), seq=self._journal.next_seq(), vm=self.name, **decision))

    def _audit(self, record: Record) -> None:
        self._journal.write(record)


def _expiry(grant: Grant) -> float:
    expires_s = grant.expires_at_s()
    return math.inf if expires_s is None else expires_s


def _too_late(kind: str) -> Refusal:
    message = f"{kind} denied: overall_timeout was used up while the call waited for an approval"
    return Refusal(kind="deadline_exceeded", message=message, rule="overall_timeout")


def _first_expiry(boarded: list[tuple[Permit[Any], Record]]) -> float:
    return min(_expiry(permit.grant) for permit, _ in boarded)
