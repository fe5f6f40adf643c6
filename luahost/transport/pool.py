"""One connection, and the stack of those that nobody uses.

The idea: what is idle costs a descriptor, so it is bounded three ways: per origin, in age, and over all by the
places that calls leave free; the oldest goes first. Per origin the last one back is the first one out: it is the
least likely to have been closed by the server meanwhile.

Closing is synchronous everywhere: it waits for nobody, so nothing can cancel it.
"""

from __future__ import annotations

import math
import select
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import httpx
import trio

from luahost.transport.tcp import Tcp

RECV_BYTES = 64 * 1024
IDLE_PER_ORIGIN = 256
IDLE_S = 60.0


class Key(NamedTuple):
    """Which requests may share a connection. One that was let to a private address is for those only that are."""

    scheme: bytes
    host: bytes
    port: int
    may_be_private: bool


@contextmanager
def within(timeout_s: float, error: type[httpx.TimeoutException], text: str) -> Iterator[None]:
    """The error when what is inside takes longer. Having no limit costs nothing: attempts bound most calls."""
    if timeout_s == math.inf:
        yield
        return
    with trio.move_on_after(timeout_s) as scope:
        yield
    if scope.cancelled_caught:
        raise error(text)


class Connection:
    """One socket to one origin, idle or with one exchange."""

    def __init__(self, tcp: Tcp, stream: trio.abc.Stream) -> None:
        self._socket, self._stream = tcp.socket, stream
        self._poll = select.poll()
        self._poll.register(tcp.socket.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        self._sending = False
        self.idle_since = 0.0

    def is_stale(self) -> bool:
        """Whether an idle connection was closed by the server, or said something nobody asked for."""
        if trio.current_time() - self.idle_since > IDLE_S or self._poll.poll(0):
            return True
        # What TLS has received and not yet given out; trio has no public name for it.
        stream: Any = self._stream
        return isinstance(stream, trio.SSLStream) and bool(stream.pending() or stream._incoming.pending)

    def acknowledged(self) -> int | None:
        """How many bytes the other side's system has taken so far; None where ours does not tell."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        except OSError:
            return None
        return int(struct.unpack_from("Q", info, 120)[0]) if len(info) == 128 else None  # tcpi_bytes_acked

    async def send(self, data: bytes, timeout_s: float) -> None:
        self._sending = True
        with within(timeout_s, httpx.WriteTimeout, "sending took too long"):
            try:
                await self._stream.send_all(data)
                self._sending = False
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.WriteError("the connection broke while sending") from error

    async def receive(self, timeout_s: float) -> bytes:
        """The next bytes; none at all at their end."""
        with within(timeout_s, httpx.ReadTimeout, "the server took too long"):
            try:
                return bytes(await self._stream.receive_some(RECV_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.ReadError("the connection broke") from error

    def close(self) -> None:
        """Whoever still waits in it gets a ReadError or a WriteError."""
        if self._sending:
            # Half a request is of no use: without this the system would go on sending it for minutes.
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class Idle:
    """The connections nobody uses."""

    def __init__(self) -> None:
        self._stacks: dict[Key, deque[Connection]] = {}
        self._ages: dict[Connection, Key] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._ages)

    def put(self, key: Key, connection: Connection) -> None:
        connection.idle_since = now = trio.current_time()
        stack = self._stacks.setdefault(key, deque())
        stack.append(connection)
        self._ages[connection] = key
        if len(stack) > IDLE_PER_ORIGIN:
            self._forget(stack[0]).close()
        while now - next(iter(self._ages)).idle_since > IDLE_S:
            self.close_oldest()

    def take(self, key: Key) -> Connection | None:
        """The one that was used last, if it is still of use."""
        while key in self._stacks:
            connection = self._forget(self._stacks[key][-1])
            if not connection.is_stale():
                return connection
            connection.close()
        return None

    def close_oldest(self) -> None:
        self._forget(next(iter(self._ages))).close()

    def close_all(self) -> None:
        while self._ages:
            self.close_oldest()

    def _forget(self, connection: Connection) -> Connection:
        key = self._ages.pop(connection)
        stack = self._stacks[key]
        if stack[-1] is connection:
            stack.pop()
        else:
            stack.popleft()  # the oldest of all is the oldest of its origin
        if not stack:
            del self._stacks[key]
        return connection
