"""Approval: a grant with approve="ask" lets a call through only if a person, or a program in their place, says so.

The approver is the host's. It hears what will be done, to the letter, and answers once, for a time, or no; the call
waits where it is and goes on with just the arguments that were shown. A no is a value for the script and ends
nothing. Where nobody can be asked, nobody answers in time, or the approver fails, the answer is no.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from luahost.gate.grants import Grant
from luahost.gate.rules import Refusal

_log = logging.getLogger("luahost.approval")

MAX_REASON_CHARS = 500
"""Of an approver's words, and of a script's."""


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an approver is asked.

    vm           the path of the VM, parent/child
    kind         the kind of grant; action: the operation ("llm", "write", "request_capability" …)
    about        what it is about, as in the audit: model, host, path, program …
    args         the call's arguments as they will be used; args_sha256: of their bytes, as in the audit
    reason       the script's own words, of request_capability; a stranger's text
    """

    vm: str
    kind: str
    action: str
    about: dict[str, Any]
    args: Any
    args_sha256: str
    reason: str = ""


class AllowOnce(msgspec.Struct, frozen=True):
    """This call."""


class AllowFor(msgspec.Struct, frozen=True, kw_only=True):
    """This call, and for `ttl_s` seconds those of this VM that are about the same; with `any`, all of the kind."""

    ttl_s: float
    any: bool = False


class Deny(msgspec.Struct, frozen=True):
    """Not this call."""

    reason: str = ""


Answer = AllowOnce | AllowFor | Deny
Approver = Callable[[ApprovalRequest], Awaitable[Answer]]


def must_ask(grant: Grant) -> bool:
    """Whether the grant, or one above it, wants each call approved."""
    return "ask" in grant.said("approve")


class Approvals:
    """One VM's: whom it asks, and what was allowed for a time. `timeout_s` is how long an answer may take."""

    def __init__(self, approver: Approver | None, timeout_s: float) -> None:
        self._approver, self._timeout_s = approver, timeout_s
        self._until: dict[tuple[Any, ...], float] = {}  # what was allowed for a time → until when
        self._grants: dict[str, int] = {}  # kind → how often its grant has changed

    async def refusal(self, request: ApprovalRequest, likeness: tuple[Any, ...]) -> Refusal | None:
        """None when it is allowed; else the no, with the rule that decided. `likeness` is the action's."""
        now_s = trio.current_time()
        keys = ((request.kind, request.action, likeness), (request.kind,))
        if any(self._until.get(key, 0.0) > now_s for key in keys):
            return None
        grants = self._grants[request.kind] = self._grants.get(request.kind, 0)
        answer = await self.ask(request)
        if isinstance(answer, Refusal):
            return answer
        if isinstance(answer, AllowFor) and self._grants[request.kind] == grants:
            self._until[keys[1 if answer.any else 0]] = trio.current_time() + answer.ttl_s
        return None

    def forget(self, kind: str) -> None:
        """The grant of this kind is another, or gone: what was allowed under it is not allowed any more."""
        self._grants[kind] = self._grants.get(kind, 0) + 1
        for key in [each for each in self._until if each[0] == kind]:
            del self._until[key]

    async def ask(self, request: ApprovalRequest) -> AllowOnce | AllowFor | Refusal:
        """The approver's word, or the no that stands for it."""
        if self._approver is None:
            return _no(
                request,
                "the grant has approve=ask, and nobody is there to ask: no Host(approver=…), no terminal",
            )
        answer: Any = None
        with trio.move_on_after(self._timeout_s) as limit:
            try:
                answer = await self._approver(request)
            except Exception:  # whatever it is: a yes it is not
                _log.exception("%s: the approver failed", request.vm)
                return _no(request, "the approver failed")
        if limit.cancelled_caught:
            return _no(request, f"no answer within {self._timeout_s:g} s", kind="approval_timeout")
        if isinstance(answer, AllowOnce) or (isinstance(answer, AllowFor) and answer.ttl_s > 0):
            return answer
        why = answer.reason if isinstance(answer, Deny) else f"the approver answered {type(answer).__name__}"
        return _no(request, why or "it was not approved")


def _no(request: ApprovalRequest, why: str, *, kind: str = "approval_denied") -> Refusal:
    return Refusal(kind=kind, message=f"{request.kind} denied: {why[:MAX_REASON_CHARS]}", rule=kind)
