"""EchoModel, the HTTP side: which path means what, who is let in, one answer sent whole or in pieces.

What it says is echo's, how bytes become requests http1's, threads and their end loopback's. It does not
misbehave on purpose.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from luahost.testing.echo import CREATED_UNIX_S, Answer, Reply, answer, chunks, default_reply, whole
from luahost.testing.http1 import RawRequest, Refusal, RequestReader, http_chunk, response_head
from luahost.testing.loopback import LoopbackServer, hung_up

OPEN_PATHS = ("/", "/health")
ROUTES: dict[str, tuple[str, ...]] = {
    "/": ("GET", "HEAD"),
    "/health": ("GET", "HEAD"),
    "/v1/models": ("GET",),
    "/v1/chat/completions": ("POST",),
}


class Recorded(NamedTuple):
    """One request EchoModel read whole. `headers`: names in lower case. `body`: the parsed JSON, or None."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class EchoModel(LoopbackServer):
    """A model server on loopback whose words follow from the request. Use it as a context manager.

    `key`      requests need `Authorization: Bearer <key>`, else 401; `GET /` and `GET /health` stay open
    `delay_s`  seconds between streamed pieces (a word, a fragment of a tool call) and before a whole answer
    `reply`    `(messages: list[dict]) -> str`, says every text in place of `default_reply`; called from the
               connections' threads, so it may run several times at once. What it raises is answered with 500.

    A prompt of at most 40 words is answered by `You said: <prompt>`, a longer one by a brief extract. A token
    is a word between white space. When tools are offered, each line `call <name> <json object>` of the last
    user message becomes a tool call; tool results at the end are answered by `Tool said: <content>`, joined
    by spaces. A `response_format` with a schema is answered by JSON that fits it, made of the prompt. The model
    `down` is always overloaded. `stop` cuts before `max_completion_tokens` (or `max_tokens`) does; neither cuts a
    tool call.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        key: str | None = None,
        delay_s: float = 0.0,
        reply: Reply | None = None,
    ) -> None:
        super().__init__(host, port)
        self._key = key
        self._delay_s = delay_s
        self._reply = reply or default_reply
        self._requests: list[Recorded] = []
        self._calls = 0

    @property
    def requests(self) -> list[Recorded]:
        """Every request read so far, oldest first, refused ones too; a copy."""
        with self.lock:
            return list(self._requests)

    @property
    def calls(self) -> int:
        """How many completions it began to answer (not those it refused)."""
        with self.lock:
            return self._calls

    def serve_connection(self, sock: socket.socket) -> None:
        reader = RequestReader(sock)
        while not self.closing.is_set():
            try:
                request = reader.next()
                if request is None or not self._answer(sock, request):
                    return
            except Refusal as refusal:
                # only an unreadable request comes here: nothing after it on this connection can be trusted
                _send_json(sock, refusal.status, refusal.envelope, close=True)
                _drain(sock)
                return

    def _answer(self, sock: socket.socket, request: RawRequest) -> bool:
        """Answers one request; False when the connection ends with it."""
        try:
            body: Any = json.loads(request.body) if request.body else None
        except (ValueError, RecursionError):
            body = None
        with self.lock:
            self._requests.append(Recorded(request.method, request.path, request.headers, body))
        close, status = not request.keeps_alive, 200
        try:
            said = self._decide(request, body)
        except Refusal as refusal:
            said, status = refusal.envelope, refusal.status
        if isinstance(said, Answer):
            with self.lock:
                self._calls += 1
            if body.get("stream") is True:
                options = body.get("stream_options")
                include_usage = isinstance(options, dict) and options.get("include_usage") is True
                return self._stream(sock, request, chunks(said, include_usage=include_usage)) and not close
            if self._left(sock):
                return False
            said = whole(said)
        _send_json(sock, status, said, close=close, bodiless=request.method == "HEAD")
        return not close

    def _decide(self, request: RawRequest, body: Any) -> Answer | dict[str, Any]:
        """What to say with 200: a completion, or a plain object. Everything else is a Refusal."""
        path = request.path.partition("?")[0]
        methods = ROUTES.get(path)
        if methods is None:
            raise Refusal(404, f"unknown path {path}", code="unknown_url")
        if path not in OPEN_PATHS and not self._admits(request):
            raise Refusal(401, "wrong or missing API key", code="invalid_api_key")
        if request.method not in methods:
            raise Refusal(405, f"{path} wants {' or '.join(methods)}", code="method_not_allowed")
        if path == "/v1/models":
            model = {"id": "echo", "object": "model", "created": CREATED_UNIX_S, "owned_by": "luahost"}
            return {"object": "list", "data": [model]}
        if path in OPEN_PATHS:
            return {"status": "ok"}
        if not isinstance(body, dict):
            raise Refusal(400, "the body must be a JSON object")
        try:
            return answer(body, self._reply)
        except RecursionError as error:
            raise Refusal(400, "the body is nested too deeply") from error

    def _admits(self, request: RawRequest) -> bool:
        return self._key is None or request.headers.get("authorization") == f"Bearer {self._key}"

    def _stream(
        self, sock: socket.socket, request: RawRequest, payloads: Iterator[tuple[dict[str, Any], bool]]
    ) -> bool:
        # HTTP/1.0 knows no chunks: there the end of the connection is the end of the stream
        chunked = request.version == "HTTP/1.1"
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")
        frame = http_chunk if chunked else bytes
        headers = [
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-cache"),
            framing,
        ]
        sock.sendall(response_head(200, headers))
        started = False
        for payload, is_piece in payloads:
            if is_piece and started and self._left(sock):
                return False
            started = started or is_piece
            sock.sendall(frame(b"data: " + json_bytes(payload) + b"\n\n"))
        sock.sendall(frame(b"data: [DONE]\n\n") + (http_chunk(b"") if chunked else b""))
        return chunked

    def _left(self, sock: socket.socket) -> bool:
        """One pause; True when the client left meanwhile or the server is closing, which looks the same."""
        if self._delay_s <= 0:
            return self.closing.is_set()
        return hung_up(sock, self._delay_s)


def json_bytes(value: Any) -> bytes:
    # UTF-8 as it is, not \u escapes: so decoders meet characters of several bytes; a lone surrogate is "?"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _send_json(sock: socket.socket, status: int, value: Any, *, close: bool, bodiless: bool = False) -> None:
    body = json_bytes(value)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if close:
        headers.append(("Connection", "close"))
    sock.sendall(response_head(status, headers) + (b"" if bodiless else body))


def _drain(sock: socket.socket) -> None:
    """Reads on for at most a second after the last answer: closing over unread bytes would reset the
    connection, and the client, still sending, would never see why."""
    sock.shutdown(socket.SHUT_WR)
    until = time.monotonic() + 1.0
    while (left_s := until - time.monotonic()) > 0:
        sock.settimeout(left_s)
        if not sock.recv(256 * 1024):
            return
