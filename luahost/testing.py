"""EchoModel: a model server that needs nothing. No key, no network, no model; real HTTP on a loopback port.

It speaks the OpenAI chat-completions wire (streamed and whole, tools, usage, the error envelope), and what it
says follows from the request alone: the same request gets the same bytes. So a demo runs on a machine with
nothing installed, and a test of the whole way from a script to a socket asserts exact words.

    with EchoModel() as echo:
        ...  # POST {echo.url}/v1/chat/completions; then look at echo.requests, echo.calls

    python -m luahost.testing --port 8080 --delay 0.05

Three layers, top to bottom: what is said (pure functions), how one request is read and answered, and a small
threaded server that can end all it opened at once (tests build servers that misbehave on that same layer).
It does not know luahost: nothing above or below it is imported, nor an HTTP client, nor an event loop.
It does not misbehave on purpose either. Wire facts: LLM_WIRE.md 2.1 (W1-W4, W10).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import select
import selectors
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
SHORT_PROMPT_WORDS = 40
CREATED_UNIX_S = 1_700_000_000  # a constant, so that the same request gets the same bytes

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}

Reply = Callable[[list[dict[str, Any]]], str]


class Refusal(Exception):
    """A request answered with OpenAI's error envelope. `final`: the connection cannot be used after it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.final = final
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.envelope = {"error": {"message": message, "type": kind, "param": param, "code": code}}


# ---- what is said: pure, from the request's body alone ----


class ToolCall(NamedTuple):
    id: str
    name: str
    arguments: str  # JSON text, as the prompt wrote it


class Answer(NamedTuple):
    id: str
    model: str
    text: str
    tool_calls: list[ToolCall]
    finish_reason: str  # stop | length | tool_calls
    usage: dict[str, int]


def text_of(message: dict[str, Any]) -> str:
    """The text of one message: its string, or its text parts run together."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def default_reply(messages: list[dict[str, Any]]) -> str:
    """What EchoModel says by itself: tool results, a short prompt, or a long one in brief."""
    if messages[-1]["role"] == "tool":
        return "Tool said: " + " ".join(text_of(message) for message in _trailing_tools(messages))
    prompt = _last_user_text(messages)
    words = prompt.split()
    if len(words) <= SHORT_PROMPT_WORDS:
        return f"You said: {prompt}"
    sentence = re.match(r".+?[.!?](?=\s|$)", prompt.strip(), re.DOTALL)
    first = (sentence.group() if sentence else prompt).split()
    quoted = " ".join(first[:30]) + (" …" if len(first) > 30 else "")
    return f"A text of {len(words)} words. It begins: “{quoted}” It ends: “… {' '.join(words[-6:])}”"


def _trailing_tools(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    start = len(messages)
    while start and messages[start - 1]["role"] == "tool":
        start -= 1
    return messages[start:]


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    return next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "")


def answer(body: dict[str, Any], reply: Reply = default_reply) -> Answer:
    """Decides the whole answer to one request; raises Refusal for one that makes no sense."""
    messages = _messages(body)
    limit = _token_limit(body)
    digest = f"{zlib.crc32(json.dumps(messages, sort_keys=True).encode()):08x}"
    finish, text, calls = "stop", "", _tool_calls(body, messages, digest)
    if calls:
        finish = "tool_calls"
        completion = sum(len(f"{call.name} {call.arguments}".split()) for call in calls)
    else:
        text = _before_stop(_spoken(reply, messages), body.get("stop"))
        pieces = tokens(text)
        if limit is not None and len(pieces) > limit:
            finish, pieces = "length", pieces[:limit]
            text = "".join(pieces)
        completion = len(text.split())
    prompt = sum(len(text_of(message).split()) for message in messages)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return Answer(f"chatcmpl-{digest}", str(body.get("model") or "echo"), text, calls, finish, usage)


def tokens(text: str) -> list[str]:
    """The words of a text with the white space before each; joined they are the text again."""
    if not text.strip():
        return [text] if text else []
    return re.findall(r"\s*\S+(?:\s+\Z)?", text)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages must be a list with at least one message", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(400, "every message is an object with a role", param=f"messages[{index}]")
    return messages


def _token_limit(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise Refusal(400, f"{name} must be a whole number of at least 1", param=name)
        return limit
    return None


def _before_stop(text: str, stop: Any) -> str:
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    found = [text.find(word) for word in stops if isinstance(word, str) and word]
    return text[: min((at for at in found if at >= 0), default=len(text))]


def _spoken(reply: Reply, messages: list[dict[str, Any]]) -> str:
    try:
        text = reply(messages)
    except Exception as error:
        # the test's own function: its error must reach the test, and the only way there is the wire
        raise Refusal(500, f"reply() raised {type(error).__name__}: {error}") from error
    if not isinstance(text, str):
        raise Refusal(500, f"reply() returned {type(text).__name__}, not str")
    return text


def _tool_calls(body: dict[str, Any], messages: list[dict[str, Any]], digest: str) -> list[ToolCall]:
    """One call for each line `call <name> <json object>`, unless tool results already answer that prompt."""
    if not body.get("tools") or body.get("tool_choice") == "none" or messages[-1]["role"] == "tool":
        return []
    calls: list[ToolCall] = []
    for line in _last_user_text(messages).splitlines():
        words = line.strip().split(None, 2)
        if len(words) == 3 and words[0] == "call" and _is_object(words[2]):
            # the name is not looked up: a model that calls a tool nobody offered is worth a test
            calls.append(ToolCall(f"call_{digest}_{len(calls)}", words[1], words[2]))
    return calls[:1] if body.get("parallel_tool_calls") is False else calls


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def whole(said: Answer) -> dict[str, Any]:
    """The body of a non-streamed answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None if said.tool_calls else said.text}
    if said.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": said.finish_reason}
    return _envelope(said, "chat.completion", [choice]) | {"usage": said.usage}


def chunks(said: Answer, *, include_usage: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """The streamed answer, `(payload, is_piece)` each. A piece is a word or a fragment of a tool call; before
    each piece but the first the server pauses. `[DONE]` is not among them."""
    extra: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _envelope(said, "chat.completion.chunk", [choice]) | extra

    yield chunk({"role": "assistant", "content": None if said.tool_calls else ""}), False
    for piece in tokens(said.text):
        yield chunk({"content": piece}), True
    for index, call in enumerate(said.tool_calls):
        head = {"index": index, "id": call.id, "type": "function"}
        yield chunk({"tool_calls": [head | {"function": {"name": call.name, "arguments": ""}}]}), True
        size = math.ceil(len(call.arguments) / 3)
        for at in range(0, len(call.arguments), size):
            part = {"index": index, "function": {"arguments": call.arguments[at : at + size]}}
            yield chunk({"tool_calls": [part]}), True
    yield chunk({}, said.finish_reason), False
    if include_usage:
        yield _envelope(said, "chat.completion.chunk", []) | {"usage": said.usage}, False


def _envelope(said: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": said.id, "object": kind, "created": CREATED_UNIX_S, "model": said.model, "choices": choices}


def _json(value: Any) -> bytes:
    # UTF-8 as it is, not \u escapes: so decoders meet characters of several bytes; a lone surrogate is "?"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


# ---- one request read from a socket ----


class RawRequest(NamedTuple):
    """One HTTP request. Header names are lower case; a header sent twice is joined with ", "."""

    method: str
    path: str  # the target as it was sent, query included
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def keeps_alive(self) -> bool:
        return self.version == "HTTP/1.1" and "close" not in self.headers.get("connection", "").lower()


class RequestReader:
    """Reads HTTP/1.x requests from a blocking socket; bytes past one request stay for the next."""

    def __init__(self, sock: socket.socket, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._sock = sock
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    @property
    def has_bytes(self) -> bool:
        return bool(self._buffer)

    def next(self) -> RawRequest | None:
        """The next request; None when the peer ended before one was whole. Raises Refusal (always final)."""
        try:
            head = self._until(b"\r\n\r\n", MAX_HEAD_BYTES).decode("latin-1").lstrip("\r\n").split("\r\n")
            method, path, version = self._request_line(head[0])
            headers: dict[str, str] = {}
            for line in head[1:]:
                name, colon, value = line.partition(":")
                if not colon or not name or name != name.strip():
                    raise Refusal(400, "a header line without a name", final=True)
                name, value = name.lower(), value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            return RawRequest(method, path, headers, self._body(headers), version)
        except EOFError:
            return None

    @staticmethod
    def _request_line(line: str) -> tuple[str, str, str]:
        words = line.split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refusal(400, "not an HTTP/1.x request line", final=True)
        return words[0], words[1], words[2]

    def _body(self, headers: dict[str, str]) -> bytes:
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = 0 if chunked else self._size(headers.get("content-length", "0"), 10)
        if headers.get("expect", "").lower() == "100-continue" and not self._buffer:
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not chunked:
            return self._exactly(length)
        body = bytearray()
        while size := self._size(
            self._until(b"\r\n", 1024).decode("latin-1").partition(";")[0], 16, len(body)
        ):
            body += self._exactly(size)
            self._exactly(2)
        while self._until(b"\r\n", MAX_HEAD_BYTES):
            pass  # trailers say nothing a test asks for
        return bytes(body)

    def _size(self, text: str, base: int, so_far: int = 0) -> int:
        try:
            size = int(text, base)
        except ValueError:
            size = -1
        if size < 0:
            raise Refusal(400, "a body length that is no number", final=True)
        if size + so_far > self._max_body_bytes:
            raise Refusal(413, f"the body is larger than {self._max_body_bytes} bytes", final=True)
        return size

    def _until(self, mark: bytes, max_bytes: int) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > max_bytes:
                raise Refusal(400, "the head of the request is too large", final=True)
            self._more()
        line = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _more(self) -> None:
        data = self._sock.recv(256 * 1024)
        if not data:
            raise EOFError
        self._buffer += data


def response_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def http_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


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


# ---- a threaded server that can end all it opened ----


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


# ---- the model server ----


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
    by spaces. `stop` cuts before `max_completion_tokens` (or `max_tokens`) does; neither cuts a tool call.
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
        close = not request.keeps_alive
        try:
            said = self._decide(request, body)
        except Refusal as refusal:
            _send_json(sock, refusal.status, refusal.envelope, close=close, bodiless=request.method == "HEAD")
            return not close
        if not isinstance(said, Answer):
            _send_json(sock, 200, said, close=close, bodiless=request.method == "HEAD")
            return not close
        with self.lock:
            self._calls += 1
        if body.get("stream") is not True:
            if self._left(sock):
                return False
            _send_json(sock, 200, whole(said), close=close)
            return not close
        options = body.get("stream_options")
        include_usage = isinstance(options, dict) and options.get("include_usage") is True
        return self._stream(sock, request, chunks(said, include_usage=include_usage)) and not close

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
            sock.sendall(frame(b"data: " + _json(payload) + b"\n\n"))
        sock.sendall(frame(b"data: [DONE]\n\n") + (http_chunk(b"") if chunked else b""))
        return chunked

    def _left(self, sock: socket.socket) -> bool:
        """One pause; True when the client left meanwhile or the server is closing, which looks the same."""
        if self._delay_s <= 0:
            return self.closing.is_set()
        return hung_up(sock, self._delay_s)


OPEN_PATHS = ("/", "/health")
ROUTES: dict[str, tuple[str, ...]] = {
    "/": ("GET", "HEAD"),
    "/health": ("GET", "HEAD"),
    "/v1/models": ("GET",),
    "/v1/chat/completions": ("POST",),
}


def _send_json(sock: socket.socket, status: int, value: Any, *, close: bool, bodiless: bool = False) -> None:
    body = _json(value)
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


def main(argv: list[str] | None = None) -> int:
    """Serves until Ctrl-C; the first line printed is the URL."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m luahost.testing", description="A model server that needs nothing."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="S", help="seconds between two streamed words"
    )
    options = parser.parse_args(argv)
    echo = EchoModel(port=options.port, delay_s=options.delay)
    try:
        echo.start()
    except OSError as error:
        parser.error(f"port {options.port}: {error.strerror}")
    try:
        print(echo.url, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        echo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
