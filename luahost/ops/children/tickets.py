"""Tickets: work of one VM that goes on while its script does something else, and whose results wait to be fetched.

Bounded: so many at a time, and so many bytes of results that nobody has fetched; over that the oldest are let go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

MAX_RUNNING = 1000
MAX_KEPT = 1000

Work = Callable[[], Awaitable[Any]]


class _Ticket:
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.result = b""  # as bytes: what a script has left lying is small and cannot change


class Tickets:
    """One VM's. The nursery runs the work."""

    def __init__(self, nursery: trio.Nursery, max_bytes: int) -> None:
        self._nursery, self._max_bytes = nursery, max_bytes
        self._tickets: dict[str, _Ticket] = {}
        self._last = 0
        self._running = 0

    def start(self, work: Work) -> str | None:
        """The ticket of the work, which never raises; None when too much is under way."""
        if self._running >= MAX_RUNNING:
            return None
        self._last += 1
        self._running += 1
        name, ticket = f"t{self._last}", _Ticket()
        self._tickets[name] = ticket
        self._nursery.start_soon(self._run, work, ticket)
        return name

    async def take(self, name: str) -> Any:
        """The result, once there is one; None when there is no such ticket, or its result was let go."""
        ticket = self._tickets.get(name)
        if ticket is None:
            return None
        await ticket.done.wait()
        self._tickets.pop(name, None)
        return msgspec.msgpack.decode(ticket.result) if ticket.result else None

    def cancel(self) -> None:
        """Ends all that is under way; there will be no results of it."""
        for name, ticket in list(self._tickets.items()):
            if not ticket.done.is_set():
                del self._tickets[name]
                ticket.scope.cancel()

    async def _run(self, work: Work, ticket: _Ticket) -> None:
        try:
            with ticket.scope:
                ticket.result = msgspec.msgpack.encode(await work())
        finally:
            self._running -= 1
            ticket.done.set()
            self._let_go()

    def _let_go(self) -> None:
        kept = [(name, ticket) for name, ticket in self._tickets.items() if ticket.done.is_set()]
        left = sum(len(ticket.result) for _, ticket in kept)
        for n, (name, ticket) in enumerate(kept):
            if left <= self._max_bytes and len(kept) - n <= MAX_KEPT:
                break
            left -= len(ticket.result)
            del self._tickets[name]
