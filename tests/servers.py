"""FaultServer: a TCP server on loopback that does to its client exactly what a test wrote down.

Each connection is handled in a thread of its own by the test's handler: a function of one `Conn`, whose verbs
go from whole answers (`respond`, `sse`) down to single bytes (`send`), a reset and a wait. The other way is
measured: when the peer closed, so that a test can prove that a revoked stream was cut in time.

    with FaultServer(cut_midstream(3)) as server: ...            # a ready-made handler
    with FaultServer(sequence([status(503), hang])) as server: ...  # one after another

A handler runs until it returns. Then the connection is closed, unless the answer was whole (`respond`, or
`sse` with its end): then the handler is called again for the next request on it. A handler that raises fails
the test when the server closes; a peer that left ends it quietly.

It does not know what a right answer is, and knows no model but the few OpenAI chunks of the ready-made
handlers. Accepting, reading requests and ending at once are those of luahost.testing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from luahost.testing import (
    LoopbackServer,
    RawRequest,
    RequestReader,
    http_chunk,
    hung_up,
    response_head,
)

HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"


class PeerGone(ConnectionError):
    """The client closed; raised by a verb that would write to it."""


class ServerClosed(ConnectionError):
    """The test closed the server; raised by whatever the handler was waiting in."""


class Conn:
    """One accepted connection. Its verbs belong to the handler's thread; `wait_peer_closed`,
    `peer_has_closed`, `closed_by_peer`, `closed` and `requests` may be asked from any."""

    def __init__(self, server: FaultServer, sock: socket.socket, number: int) -> None:
        self.number = number  # 0 for the first connection the server accepted
        self.requests: list[RawRequest] = []
        self.closed_by_peer: float | None = None  # time.monotonic() when it was noticed
        self.closed = False  # by this side
        self.whole = False  # the answer to the last request was complete, so another may follow
        self._server = server
        self._sock = sock
        self._reader = RequestReader(sock)
        self._owner = threading.get_ident()
        self._streaming = False

    def read_request(self) -> RawRequest | None:
        """The next request (method, path, headers in lower case, body); None when the peer closed instead."""
        self.whole = self._streaming = False
        try:
            request = self._reader.next()
        except OSError:
            request = None
        if request is None:
            self._peer_ended()
            return None
        self.requests.append(request)
        self._server.record(request)
        return request

    def send(self, data: bytes) -> None:
        """These bytes and no others."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            self._peer_ended()
            raise PeerGone(str(error)) from error

    def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; the empty one ends the body."""
        self.send(http_chunk(data))
        self.whole = not data

    def respond(
        self,
        status: int,
        headers: dict[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """A whole answer. `Content-Length` is added unless the headers frame the body themselves."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        names = {name.lower() for name, _ in pairs}
        if not names & {"content-length", "transfer-encoding"}:
            pairs.append(("Content-Length", str(len(body))))
        self.send(response_head(status, pairs) + body)
        self.whole = not any(name.lower() == "connection" and value == "close" for name, value in pairs)

    def sse(self, payloads: Iterable[bytes], delay_s: float = 0.0, end: bool = True) -> None:
        """Server-sent events, each payload one `data:` event in a chunk of its own, `delay_s` seconds between
        two. The head goes out with the first call; `end=False` leaves the body open. No [DONE] is added."""
        if not self._streaming:
            self.send(response_head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]))
            self._streaming = True
        for index, payload in enumerate(payloads):
            if index and delay_s > 0 and not self.wait(delay_s):
                raise PeerGone("the peer closed between two events")
            self._raise_if_closing()
            self.chunk(b"data: " + payload + b"\n\n")
        if end:
            self.chunk(b"")
            self._streaming = False

    def wait(self, wait_s: float = 3600.0) -> bool:
        """Waits so many seconds. False when the peer closed before that; ServerClosed when the test did."""
        if not hung_up(self._sock, wait_s):
            return True
        self._peer_ended()
        return False

    def wait_peer_closed(self, timeout_s: float) -> float:
        """Seconds from this call until the peer closed; 0.0 when it had. AssertionError when it does not
        in time, or when this side closes first."""
        start = time.monotonic()
        until = start + timeout_s
        while self.closed_by_peer is None:
            # `closed` is read first: a handler that notices the peer's end notes it, then closes
            if self.closed and self.closed_by_peer is None:
                raise AssertionError("this side closed the connection before the peer did")
            left_s = until - time.monotonic()
            assert left_s > 0, f"the peer did not close within {timeout_s} s"
            if threading.get_ident() == self._owner:
                self.wait(left_s)
            else:
                # in steps: the descriptor is the handler's, which may close it between two of them
                self.peer_has_closed()
                time.sleep(0.001)
        return max(0.0, self.closed_by_peer - start)

    def peer_has_closed(self) -> bool:
        """Whether the peer has closed by now, seen without waiting."""
        with self._server.lock:
            if not self.closed and not self._server.closing.is_set() and hung_up(self._sock, 0):
                self._note_peer_closed()
        return self.closed_by_peer is not None

    def close(self) -> None:
        """An orderly end (FIN)."""
        if threading.get_ident() != self._owner:
            raise RuntimeError("a connection is closed by its handler; end the server instead")
        self.closed = True  # before the descriptor is gone: peer_has_closed asks first
        self._server.release(self._sock)

    def reset(self) -> None:
        """An abrupt end (RST): the peer sees "connection reset", and may lose what it has not read."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def next_request_comes(self) -> bool:
        """Waits, after a whole answer, for the first byte of another request."""
        return self._reader.has_bytes or bool(self._sock.recv(1, socket.MSG_PEEK))

    def _peer_ended(self) -> None:
        """Notes the peer's end. A server that closes looks the same from its sockets, and then it is
        ServerClosed, unless the peer was seen to close before that."""
        if self.closed_by_peer is None:
            self._raise_if_closing()
            self._note_peer_closed()

    def _note_peer_closed(self) -> None:
        if self.closed_by_peer is None:
            self.closed_by_peer = time.monotonic()

    def _raise_if_closing(self) -> None:
        if self._server.closing.is_set():
            raise ServerClosed("the server is closing")


Handler = Callable[[Conn], None]


class FaultServer(LoopbackServer):
    """Runs `handler(conn)` for each connection. `with FaultServer(handler) as server:` then `server.url`.

    `connections` counts those accepted, `open_connections` those that neither side has closed, `requests` and
    `conns` list all requests and connections, oldest first.
    """

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host, port)
        self._handler = handler
        self._changed = threading.Condition()
        self._conns: list[Conn] = []
        self._requests: list[RawRequest] = []
        self._errors: list[BaseException] = []

    @property
    def conns(self) -> list[Conn]:
        with self._changed:
            return list(self._conns)

    @property
    def requests(self) -> list[RawRequest]:
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        return len(self.conns)

    @property
    def open_connections(self) -> int:
        return sum(not conn.closed and not conn.peer_has_closed() for conn in self.conns)

    def wait_requests(self, count: int, timeout_s: float = 5.0) -> None:
        """Returns when so many requests were read; AssertionError when they do not come."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s)
        assert came, f"{len(self.requests)} of {count} requests came within {timeout_s} s"

    def record(self, request: RawRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def serve_connection(self, sock: socket.socket) -> None:
        with self._changed:
            conn = Conn(self, sock, len(self._conns))
            self._conns.append(conn)
        try:
            self._handler(conn)
            while conn.whole and not conn.closed and conn.next_request_comes():
                conn.whole = False
                self._handler(conn)
        except OSError:
            pass  # the peer left, or the test ended the server: both are what tests do
        except BaseException as error:
            with self._changed:
                self._errors.append(error)
        finally:
            if not conn.closed:
                conn.peer_has_closed()  # the last moment at which it can be told
                conn.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._errors and error is None:
            raise self._errors[0]


# ---- what the ready-made handlers say ----


def openai_chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    """The payload of one event of an OpenAI stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-fault", "object": "chat.completion.chunk", "created": 0, "model": "fault"}
    return json.dumps({**chunk, "choices": [choice]}).encode()


def openai_delta(text: str) -> bytes:
    """The payload that carries a piece of text."""
    return openai_chunk({"content": text})


OPENAI_END = [openai_chunk({}, "stop"), b"[DONE]"]


# ---- ready-made handlers: each answers one request ----


def status(code: int, body: bytes = b"", headers: dict[str, str] | Sequence[tuple[str, str]] = ()) -> Handler:
    """Answers every request with this status."""

    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.respond(code, headers, body)

    return handler


def redirect(location: str, code: int = 307) -> Handler:
    """Sends every request elsewhere; 307 keeps the method and the body."""
    return status(code, headers={"Location": location})


def html_instead_of_json(conn: Conn) -> None:
    """200 and a page of HTML, as a proxy in between does."""
    if conn.read_request():
        conn.respond(200, {"Content-Type": "text/html"}, HTML)


def hang(conn: Conn) -> None:
    """Reads the request and never answers."""
    if conn.read_request():
        conn.wait()


def drip_sse(n: int | None = None, delay_s: float = 0.01) -> Handler:
    """`n` deltas `delay_s` seconds apart, then a right end; with None they never end."""

    def handler(conn: Conn) -> None:
        if not conn.read_request():
            return
        sent = 0
        while n is None or sent < n:
            if sent and not conn.wait(delay_s):
                return
            conn.sse([openai_delta(f"{sent} ")], end=False)
            sent += 1
        conn.sse(OPENAI_END)

    return handler


def cut_midstream(after: int) -> Handler:
    """`after` deltas, then an orderly close: no finish_reason, no [DONE], no end of the chunked body."""

    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.sse([openai_delta(f"{index} ") for index in range(after)], end=False)
            conn.close()

    return handler


def reset_midbody(conn: Conn) -> None:
    """Promises 1000 bytes of JSON, sends a few, resets."""
    if conn.read_request():
        conn.send(response_head(200, [("Content-Type", "application/json"), ("Content-Length", "1000")]))
        conn.send(b'{"id":"chatcmpl-fault","choices":[')
        conn.wait(0.02)  # so that the head is read before the reset, which throws away what was not
        conn.reset()


def sequence(handlers: Sequence[Handler]) -> Handler:
    """The first handler for the first request (or connection), and so on; the last for all that follow."""
    lock = threading.Lock()
    turn = 0

    def handler(conn: Conn) -> None:
        nonlocal turn
        with lock:
            chosen = handlers[min(turn, len(handlers) - 1)]
            turn += 1
        chosen(conn)

    return handler


def unused_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment: connecting to it is refused."""
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])
