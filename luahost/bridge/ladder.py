"""The ladder: how one call is answered, and the only place where the gate is asked.

Top to bottom, one early exit each:

    known operation? ▶ answerer of this VM ▶ arguments of the right shape ▶ plan ▶ gate: permit + reservation
    ▶ approval, where the grant wants it ▶ the act ▶ audit ▶ reply

Each VM has its own table op → answerer. A gated op starts as the deny stub; grant() puts the real one in its
place, revoke() the stub back and ends the calls under way. Neither a script nor its worker can reach the table.
Knows no worker: what comes of a call is a value.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import msgspec
import trio

from luahost.bridge.journal import Record, Trail
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
from luahost.ops.world import Share
from luahost.vm import protocol

_log = logging.getLogger("luahost.bridge")

Answerer = Callable[[Syscall, OpenCall], Awaitable[Any]]


class _WrongArguments(Exception):
    """The script's mistake; what an act raises of the same kind is ours."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def _checked(row: Syscall, args: msgspec.Raw) -> Any:
    try:
        return arguments(row.op, args)
    except msgspec.ValidationError as error:
        raise _WrongArguments(results.from_validation(error, row.options)) from None


class Ladder:
    """One VM's. `share` is what its acts may use, `trail` where its decisions are written."""

    def __init__(self, name: str, share: Share, trail: Trail) -> None:
        self.name, self.share, self._trail = name, share, trail
        self._grants: dict[str, Grant] = share.grants  # type: ignore[assignment]
        self.holdings = Holdings(name, self._grants)
        self._flights: defaultdict[str, set[OpenCall]] = defaultdict(set)  # kind → calls under way
        deny, answer = self._deny, self._answer  # one of each for all operations: there may be thousands of VMs
        self._table: dict[str, Answerer] = {op: deny if row.capability else answer for op, row in SYSCALLS.items()}
        self.denied = 0
        share.audit = trail.told

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

    # ── the way up ──────────────────────────────────────────────────────────────────────────────────────────

    async def climb(self, entry: OpenCall) -> Any:
        """The answer to a call: a value, or a failed result."""
        row = SYSCALLS.get(entry.op)
        if row is None:
            return results.error("not_found", f"no operation {entry.op[:80]!r}")
        try:
            if entry.op in QUICK:
                return row.act(self.share, await self._arguments(row, entry))
            return await self._table[entry.op](row, entry)
        except _WrongArguments as wrong:
            return wrong.result
        except Exception as error:
            return self._failed(entry.op, error)

    async def _arguments(self, row: Syscall, entry: OpenCall) -> Any:
        if len(memoryview(entry.args)) > protocol.LONG:
            await self.share.turn()
        return _checked(row, entry.args)

    def _failed(self, op: str, error: Exception) -> Result:
        """What an act raised, as its answer. A bug of ours ends this call, not the host with all its VMs."""
        if isinstance(error, LuahostError):
            return results.error(error.kind, error.message)
        _log.error("%s: the host failed in %s", self.name, op, exc_info=error)
        return results.error("internal", f"the host failed in {op} ({type(error).__name__})")

    # ── answerers ───────────────────────────────────────────────────────────────────────────────────────

    def at_once(self, op: str, args: msgspec.Raw) -> Any:
        """The answer of a quick operation, which needs neither a grant nor time."""
        row = SYSCALLS[op]
        try:
            return row.act(self.share, _checked(row, args))
        except _WrongArguments as wrong:
            return wrong.result
        except HostFault:  # it is the worker's
            raise
        except Exception as error:
            return self._failed(op, error)

    async def _answer(self, row: Syscall, entry: OpenCall) -> Any:
        """Operations that need no grant, and take time."""
        return await row.act(self.share, await self._arguments(row, entry))

    def _no_grant(self, kind: str) -> Refusal:
        return no_grant(kind, child=self.share.depth > 0)

    async def _deny(self, row: Syscall, entry: OpenCall) -> Result:
        """The stub: says no before it looks at anything."""
        assert row.capability is not None
        refusal = self._no_grant(row.capability)
        self._trail.write(self._trail.record(row.op, row.capability, entry.args_sha256, refusal))
        return self._refused(results.refused(row.capability, refusal))

    async def _gated(self, row: Syscall, entry: OpenCall) -> Any:
        """Operations under a grant."""
        assert row.capability is not None and row.plan is not None
        if self._trail.broken is not None:  # what nobody could look up afterwards is not done
            unseen = Refusal(kind="io", message=f"{row.capability} denied: {self._trail.broken}", rule="audit")
            return self._refused(results.refused(row.capability, unseen))
        args = await self._arguments(row, entry)
        if len(memoryview(entry.args)) > protocol.LONG:  # then each step with it has time of its own
            await self.share.turn()
        plan = row.plan(self.share, args)
        if isinstance(plan, dict):
            return plan
        if isinstance(plan, Refusal):  # no gate is needed to see that it would be too much
            self._trail.write(self._trail.record(row.op, row.capability, entry.args_sha256, plan))
            return self._refused(results.refused(row.capability, plan))
        world = self.share.world
        boarded: list[tuple[Permit[Any], Record]] = []
        result: Any = None
        began = world.monotonic_s()
        try:
            for action in (plan.action, *plan.also):
                permit, record = self._ask(row.op, entry, action, began)
                if isinstance(permit, Refusal):
                    self._trail.write(record)
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
                refusal = await self._approval(row.op, entry, boarded, ends_s)
                if refusal is not None:
                    result = results.refused(first.grant.kind, refusal, **plan.action.about())
                    return self._refused(result)
                emit = entry.emit if getattr(args, "streamed", False) else None
                result = await row.act(first, plan, args, self.share, emit)
                if emit is not None:
                    await entry.drain()
            if lifetime.cancelled_caught and entry.ended is None:
                entry.ended = expired(min((permit.grant for permit, _ in boarded), key=_expiry))
            return result
        finally:
            for permit, record in boarded:
                self._unbind(entry, permit)
                self._close_record(record, entry, result, began)

    def _ask(self, op: str, entry: OpenCall, action: Action, now_s: float) -> tuple[Permit[Any] | Refusal, Record]:
        """The gate's word on one action, and the record of it."""
        grant = self._grants.get(action.kind)
        answer = self._no_grant(action.kind) if grant is None else decide(grant, action, now_s)
        refusal = answer if isinstance(answer, Refusal) else None
        return answer, self._trail.record(op, action.kind, entry.args_sha256, refusal, action, grant)

    async def _approval(
        self, op: str, entry: OpenCall, boarded: list[tuple[Permit[Any], Record]], ends_s: float
    ) -> Refusal | None:
        """Asks the approver about each permit whose grant wants that; its reservation is held meanwhile."""
        for permit, record in boarded:
            if not must_ask(permit.grant):
                continue
            request = ApprovalRequest(
                vm=self.name,
                kind=permit.grant.kind,
                action=op,
                about=permit.action.about(),
                args=protocol.decode(entry.args),
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
        permit.reservation.on_cancel = lambda why_kind, why: entry.end(
            Refusal(kind=why_kind, message=f"{kind}: {why}", rule="revoked")
        )

    def _unbind(self, entry: OpenCall, permit: Permit[Any]) -> None:
        self._flights[permit.grant.kind].discard(entry)
        permit.release()  # does nothing when the act has settled it

    def _close_record(self, record: Record, entry: OpenCall, result: Any, began_s: float) -> None:
        record.ms = round((self.share.world.monotonic_s() - began_s) * 1000, 3)
        if isinstance(result, dict) and entry.ended is None:
            record.error_kind = result.get("error_kind", "")
            record.usage = result.get("usage", {})
            record.attempts = result.get("attempts", 0)
        else:
            record.error_kind = entry.ended.kind if entry.ended is not None else "cancelled"
        self._trail.write(record)

    def ended(self, entry: OpenCall) -> Result:
        """The answer of a call that the gate ended: what the script already heard is in it."""
        assert entry.ended is not None
        partial = "".join(entry.said) or None
        capability = SYSCALLS[entry.op].capability or ""
        billed = "yes" if partial else "unknown"
        return self._refused(results.refused(capability, entry.ended, partial=partial, billed=billed))

    def _refused(self, result: Result) -> Result:
        self.denied += 1
        return result


def _expiry(grant: Grant) -> float:
    expires_s = grant.expires_at_s()
    return math.inf if expires_s is None else expires_s


def _too_late(kind: str) -> Refusal:
    message = f"{kind} denied: overall_timeout was used up while the call waited for an approval"
    return Refusal(kind="deadline_exceeded", message=message, rule="overall_timeout")


def _first_expiry(boarded: list[tuple[Permit[Any], Record]]) -> float:
    return min(_expiry(permit.grant) for permit, _ in boarded)
