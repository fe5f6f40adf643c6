"""A threaded server on loopback that can end all it opened at once.

Each connection has a thread of its own, which may wait for anything as long as it likes: `close` shuts the
sockets down, and whoever waits wakes. Tests build servers that misbehave on this layer, EchoModel its good
manners.

Knows no HTTP: bytes are the business of `serve_connection`.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class LoopbackServer:
    """Accepts connections and runs `serve_connection(sock)` for each in a thread of its own.

    `close()` ends it all at once: it shuts every open socket down, which wakes whatever a thread waits for,
    and joins the threads. A socket is closed by its own thread only (`release`), so no other thread ever acts
    on a descriptor number that was given away again.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port  # 0 asks for a free one; after start() the real one
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._ended: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, no slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> Self:
        """Listens; OSError when the port is taken. A closed server may start again, on the port it had."""
        if self._listener is not None:
            return self
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family, backlog=4096)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self.closing.clear()
        sleeper, self._wake = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, args=(self._listener, sleeper), name="loopback-accept", daemon=True
        )
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Ends every connection and thread; returns when they are gone. Closing twice is fine."""
        if self._listener is None or self._wake is None or self._acceptor is None:
            return
        self.closing.set()
        self._wake.close()
        self._acceptor.join()  # from here on nothing is added to _open and _threads
        self._listener.close()
        self._listener = None
        with self.lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            threads = [*self._threads, *self._ended]
            self._ended.clear()
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serve_connection(self, sock: socket.socket) -> None:
        """One connection from its first byte to its last; OSError raised here ends it quietly."""
        raise NotImplementedError

    def release(self, sock: socket.socket) -> None:
        """Closes a connection; only from its own thread. Closing twice is fine."""
        with self.lock:
            self._open.discard(sock)
            sock.close()

    def _accept(self, listener: socket.socket, sleeper: socket.socket) -> None:
        with sleeper, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(sleeper, selectors.EVENT_READ)
            while not self.closing.is_set():
                selector.select()
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    # out of descriptors, or a peer that left the queue: neither is the end of the server
                    self.closing.wait(0.01)
                    continue
                sock.setblocking(True)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._spawn(sock)

    def _spawn(self, sock: socket.socket) -> None:
        thread = threading.Thread(target=self._run, args=(sock,), name="loopback-connection", daemon=True)
        with self.lock:
            self._open.add(sock)
            self._threads.add(thread)
            ended, self._ended = self._ended, []
        for old in ended:
            old.join()  # it is at its last instruction; joined so that a long run gathers no threads
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads
            with self.lock:
                self._threads.discard(thread)
            self.release(sock)

    def _run(self, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self.serve_connection(sock)
        finally:
            self.release(sock)
            with self.lock:
                self._threads.discard(threading.current_thread())
                self._ended.append(threading.current_thread())


def hung_up(sock: socket.socket, wait_s: float) -> bool:
    """Waits at most `wait_s` seconds; True as soon as the peer closed, whatever it sent before that.

    A client that closes only its sending half looks the same and counts as gone.
    """
    hangup = getattr(select, "POLLRDHUP", 0)
    poller = select.poll()
    poller.register(sock, hangup or select.POLLIN)
    if not poller.poll(wait_s * 1000):
        return False
    # without POLLRDHUP (not Linux) the end of the stream is only seen once nothing unread lies before it
    return bool(hangup) or not sock.recv(1, socket.MSG_PEEK)
