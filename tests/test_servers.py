"""FaultServer does what its handlers say, and measures what its clients do.

The clients are plain sockets and the standard library's; what luahost makes of such a server is not known.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest
from servers import (
    OPENAI_END,
    Conn,
    FaultServer,
    cut_midstream,
    drip_sse,
    hang,
    html_instead_of_json,
    openai_delta,
    redirect,
    reset_midbody,
    sequence,
    status,
    unused_port,
)


def connect(server: FaultServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.host, server.port, timeout=5)


def get(server: FaultServer) -> tuple[int, dict[str, str], bytes]:
    connection = connect(server)
    try:
        connection.request("GET", "/x")
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


@pytest.mark.alone
def test_status_redirect_and_html_are_whole_answers_on_a_connection_that_stays() -> None:
    handlers = [status(429, b"slow", {"Retry-After": "2"}), redirect("http://other/"), html_instead_of_json]
    with FaultServer(sequence(handlers)) as server:
        connection = connect(server)
        seen = []
        for body in (b"one", b"two", b"three", b"four"):
            connection.request("POST", "/v1", body, {"X-Trace": "T"})
            response = connection.getresponse()
            seen.append((response.status, response.headers["retry-after"] or response.headers["location"]))
            response.read()
        assert seen == [(429, "2"), (307, "http://other/"), (200, None), (200, None)]
        assert server.connections == server.open_connections == 1
        assert [request.body for request in server.requests] == [b"one", b"two", b"three", b"four"]
        assert server.requests[0].headers["x-trace"] == "T"
        connection.close()
        assert server.conns[0].wait_peer_closed(1) < 0.5
        assert server.open_connections == 0


@pytest.mark.alone
def test_hang_never_answers_and_close_ends_it_within_100_ms() -> None:
    with FaultServer(hang) as server:
        connection = connect(server)
        connection.request("GET", "/")
        server.wait_requests(1)
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 0.1
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
        connection.close()


@pytest.mark.alone
@pytest.mark.parametrize("handler", [hang, drip_sse(None, 0.01), drip_sse(None, 30)])
def test_the_time_at_which_the_peer_closed_is_measured(handler: object) -> None:
    with FaultServer(handler) as server:  # type: ignore[arg-type]
        connection = connect(server)
        connection.request("GET", "/")
        server.wait_requests(1)
        conn = server.conns[0]
        assert not conn.peer_has_closed()
        start = time.monotonic()
        timer = threading.Timer(0.05, connection.sock.shutdown, [socket.SHUT_RDWR])
        timer.start()
        assert 0.04 < conn.wait_peer_closed(2) < 0.5
        assert conn.closed_by_peer is not None
        assert 0.04 < conn.closed_by_peer - start < 0.5
        timer.join()
        connection.close()


@pytest.mark.alone
def test_a_handler_can_measure_it_too_even_past_unread_bytes() -> None:
    waited: list[float] = []

    def handler(conn: Conn) -> None:
        waited.append(conn.wait_peer_closed(2))

    with FaultServer(handler) as server:
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(b"never read")
            time.sleep(0.05)
        assert server.conns[0].wait_peer_closed(1) < 0.5
    assert 0.03 < waited[0] < 0.5


def test_a_peer_that_stays_is_an_assertion_error() -> None:
    with FaultServer(hang) as server:
        connection = connect(server)
        connection.request("GET", "/")
        server.wait_requests(1)
        with pytest.raises(AssertionError, match="did not close within"):
            server.conns[0].wait_peer_closed(0.05)
        connection.close()


def test_a_drip_of_n_ends_right() -> None:
    with FaultServer(drip_sse(3, 0.001)) as server:
        body = get(server)[2]
        assert body.count(b"data: ") == 3 + len(OPENAI_END)
        assert body.endswith(b"data: [DONE]\n\n")


def test_cut_midstream_ends_without_an_end() -> None:
    with FaultServer(cut_midstream(2)) as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(server)
        assert caught.value.partial == b"".join(b"data: %s\n\n" % openai_delta(f"{n} ") for n in range(2))


def test_reset_midbody_resets() -> None:
    with FaultServer(reset_midbody) as server, pytest.raises(ConnectionResetError):
        get(server)


def test_a_handler_may_reset_before_it_reads() -> None:
    with FaultServer(sequence([Conn.reset, status(200, b"ok")])) as server:
        with pytest.raises(ConnectionError):
            get(server)
        assert get(server)[2] == b"ok"
        assert server.connections == 2


def test_bytes_and_chunks_go_out_as_written() -> None:
    def handler(conn: Conn) -> None:
        conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        conn.chunk(b"ab")
        conn.chunk(b"")

    with FaultServer(handler) as server, socket.create_connection((server.host, server.port)) as sock:
        sock.settimeout(2)
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while part := sock.recv(100):
            data += part
        assert data.endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n")


def test_a_handler_that_raises_fails_the_test() -> None:
    def handler(conn: Conn) -> None:
        conn.read_request()
        raise ValueError("wrong request")

    with (
        pytest.raises(ValueError, match="wrong request"),
        FaultServer(handler) as server,
        pytest.raises(http.client.RemoteDisconnected),
    ):
        get(server)


def test_read_request_is_none_when_the_peer_left() -> None:
    seen: list[object] = []
    with FaultServer(lambda conn: seen.append(conn.read_request())) as server:
        socket.create_connection((server.host, server.port)).close()
        while not server.conns:
            time.sleep(0.001)
        server.conns[0].wait_peer_closed(1)
    assert seen == [None]


def test_close_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with FaultServer(drip_sse(None, 0.001)) as server:
        connections = [connect(server) for _ in range(20)]
        for connection in connections:
            connection.request("GET", "/")
        server.wait_requests(20)
        assert server.open_connections == 20
    assert not set(threading.enumerate()) - before  # one of before may have ended
    for connection in connections:
        connection.close()


def test_an_unused_port_refuses() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", unused_port()), timeout=1)
