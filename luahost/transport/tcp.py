"""A TCP stream that asks the system no more than it must, under TLS as without it.

trio's own reads before it waits, fails, waits and reads again; an answer has to be waited for, so here it waits
first. And trio's goes round the event loop after each send; who sends here has asked for its turn (pace.py). What
is not done at once is left to trio's.
"""

from __future__ import annotations

import errno
import os

import trio

RECEIVE_BYTES = 64 * 1024


class Tcp(trio.abc.Stream):
    """Made of a connected socket. Raises what trio's streams raise."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock
        self._stream = trio.SocketStream(sock)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            sent = os.write(self.socket.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _told(error) from error
        if sent < len(data):
            await self._stream.send_all(memoryview(data)[sent:])

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while self.socket.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self.socket)
                return os.read(self.socket.fileno(), max_bytes or RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _told(error) from error
        raise _closed()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _closed() -> Exception:
    return trio.ClosedResourceError("this socket was already closed")


def _told(error: OSError) -> Exception:
    if error.errno == errno.EBADF:
        return _closed()
    return trio.BrokenResourceError(f"the connection broke: {error}")
