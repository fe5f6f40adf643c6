"""EchoModel through real sockets: what it says, how it says it on the wire, that it leaves nothing behind.

The client is the standard library's, so that a fault of our own transport cannot hide one of the server.
Nothing here knows how EchoModel is made, but that the thread of a connection is named `loopback-connection`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from luahost.testing import EchoModel, tokens

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture
def echo() -> Iterator[EchoModel]:
    with EchoModel() as server:
        yield server


def connect(server: EchoModel) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.host, server.port, timeout=5)


def post(server: EchoModel, body: Any, path: str = CHAT, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and parsed JSON of one request; `body` as it is when it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def get(server: EchoModel, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(server.url + path, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def stream(server: EchoModel, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of one streamed answer; asserts that it ends with [DONE]."""
    request = urllib.request.Request(server.url + CHAT, data=json.dumps({**body, "stream": True}).encode())
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return events(response.read())


def events(body: bytes) -> list[dict[str, Any]]:
    lines = [line for line in body.decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def asked(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **options}


def said(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def finish(chunks: list[dict[str, Any]]) -> list[str]:
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    return [reason for reason in reasons if reason is not None]


def eventually(check: Any, timeout_s: float = 2.0) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.002)
    return False


def connection_threads() -> int:
    return sum(thread.name == "loopback-connection" for thread in threading.enumerate())


# ---- what it says ----


def test_a_short_prompt_is_said_back(echo: EchoModel) -> None:
    code, body = post(echo, asked("hello there"))
    assert code == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "m"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "You said: hello there"},
            "finish_reason": "stop",
        }
    ]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_a_long_prompt_is_answered_by_an_extract(echo: EchoModel) -> None:
    text = "The sea was calm. " + "Then the wind came. " * 20 + "And we sailed home at last."
    answer = post(echo, asked(text))[1]["choices"][0]["message"]["content"]
    assert "90 words" in answer
    assert "The sea was calm." in answer
    assert answer.endswith("we sailed home at last.”")
    assert len(answer) < len(text)


def test_the_system_prompt_shows_in_the_usage_only(echo: EchoModel) -> None:
    body = asked("hi")
    body["messages"].insert(0, {"role": "system", "content": "be very brief"})
    answer = post(echo, body)[1]
    assert answer["choices"][0]["message"]["content"] == "You said: hi"
    assert answer["usage"]["prompt_tokens"] == 4


def test_text_in_parts_is_read_as_one(echo: EchoModel) -> None:
    parts = [
        {"type": "text", "text": "one "},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "two"},
    ]
    answer = post(echo, {"messages": [{"role": "user", "content": parts}]})[1]
    assert answer["choices"][0]["message"]["content"] == "You said: one two"


def test_reply_replaces_the_default() -> None:
    with EchoModel(reply=lambda messages: f"{len(messages)} so far") as echo:
        assert post(echo, asked("x"))[1]["choices"][0]["message"]["content"] == "1 so far"


def test_a_reply_that_raises_is_a_500_that_names_the_error() -> None:
    with EchoModel(reply=lambda messages: str(messages[7])) as echo:
        code, body = post(echo, asked("x"))
        assert code == 500
        assert "IndexError" in body["error"]["message"]
        assert body["error"]["type"] == "server_error"


@pytest.mark.parametrize("text", ["", " ", "a", "  a  b\n\nc ", "ä ö\tü", "a" * 50])
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text
    if text.strip():
        assert len(tokens(text)) == len(text.split())


# ---- limits ----


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_and_says_length(echo: EchoModel, name: str) -> None:
    body = asked("one two three four", **{name: 3})
    answer = post(echo, body)[1]
    assert answer["choices"][0]["message"]["content"] == "You said: one"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3
    chunks = stream(echo, body)
    assert (said(chunks), finish(chunks)) == ("You said: one", ["length"])


def test_a_limit_that_just_fits_cuts_nothing(echo: EchoModel) -> None:
    answer = post(echo, asked("one two", max_tokens=4))[1]
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stop", [" three", [" three"], ["nowhere", "four", " three"]])
def test_the_first_stop_string_cuts(echo: EchoModel, stop: Any) -> None:
    body = asked("one two three four", stop=stop)
    answer = post(echo, body)[1]
    assert answer["choices"][0]["message"]["content"] == "You said: one two"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert said(stream(echo, body)) == "You said: one two"


# ---- the stream ----


def test_a_stream_says_the_same_in_pieces(echo: EchoModel) -> None:
    chunks = stream(echo, asked("häuser über Wasser"))
    assert said(chunks) == "You said: häuser über Wasser"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(chunks) == 1 + 5 + 1
    assert finish(chunks) == ["stop"]
    assert finish(chunks[-1:]) == ["stop"]
    assert all("usage" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_the_usage_chunk_comes_last_when_asked_for(echo: EchoModel) -> None:
    chunks = stream(echo, asked("hello there", stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_the_same_request_gets_the_same_bytes(echo: EchoModel) -> None:
    body = asked("same", stream=True)
    connection = connect(echo)
    bodies = set()
    for _ in range(3):
        connection.request("POST", CHAT, json.dumps(body))
        bodies.add(connection.getresponse().read())
    connection.close()
    assert len(bodies) == 1


@pytest.mark.alone
def test_the_delay_lies_between_pieces() -> None:
    with EchoModel(delay_s=0.05) as echo:
        start = time.monotonic()
        stream(echo, asked("a b"))  # four pieces, three pauses
        assert 0.14 <= time.monotonic() - start < 1.0
        start = time.monotonic()
        post(echo, asked("a b"))
        assert time.monotonic() - start >= 0.045


def test_pieces_arrive_one_by_one() -> None:
    with EchoModel(delay_s=30) as echo:
        connection = connect(echo)
        connection.request("POST", CHAT, json.dumps(asked("a b", stream=True)))
        response = connection.getresponse()
        lines = [response.readline() for _ in range(3)]
        assert b"assistant" in lines[0]
        assert b'"content":"You"' in lines[2]
        connection.close()
        response.close()


# ---- tools ----


def test_a_call_line_becomes_a_tool_call(echo: EchoModel) -> None:
    answer = post(echo, asked('please\ncall add {"a": 1, "b": 2}\nthanks', tools=TOOLS))[1]
    message = answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    assert answer["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("arguments", ["{}", '{"a":1}', '{"text": "grüße an alle"}'])
def test_a_tool_call_is_streamed_in_fragments(echo: EchoModel, arguments: str) -> None:
    chunks = stream(echo, asked(f"call add {arguments}\ncall add {arguments}", tools=TOOLS))
    assert finish(chunks) == ["tool_calls"]
    fragments = [
        fragment
        for chunk in chunks
        for choice in chunk["choices"]
        for fragment in choice["delta"].get("tool_calls", [])
    ]
    ids = set()
    for index in (0, 1):
        first, *rest = [fragment for fragment in fragments if fragment["index"] == index]
        ids.add(first["id"])
        assert first["function"] == {"name": "add", "arguments": ""}
        assert 2 <= len(rest) <= 3
        assert all("id" not in fragment for fragment in rest)
        assert "".join(fragment["function"]["arguments"] for fragment in rest) == arguments
    assert len(ids) == 2


def test_tool_results_are_said_back_and_not_called_again(echo: EchoModel) -> None:
    body = asked("call add {}", tools=TOOLS)
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": "three"},
        {"role": "tool", "tool_call_id": "2", "content": "four"},
    ]
    choice = post(echo, body)[1]["choices"][0]
    assert choice["message"]["content"] == "Tool said: three four"
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("call add {}", {}),
        ("call add {}", {"tools": TOOLS, "tool_choice": "none"}),
        ("call add {broken", {"tools": TOOLS}),
        ("call add [1]", {"tools": TOOLS}),
        ("do call add {}", {"tools": TOOLS}),
    ],
)
def test_no_tool_is_called_without_an_offer_and_a_whole_line(
    echo: EchoModel, text: str, options: dict[str, Any]
) -> None:
    message = post(echo, asked(text, **options))[1]["choices"][0]["message"]
    assert message == {"role": "assistant", "content": f"You said: {text}"}


def test_parallel_tool_calls_false_leaves_one(echo: EchoModel) -> None:
    body = asked("call a {}\ncall b {}", tools=TOOLS, parallel_tool_calls=False)
    assert len(post(echo, body)[1]["choices"][0]["message"]["tool_calls"]) == 1


# ---- the other paths, the key, the errors ----


def test_health_root_and_models_answer(echo: EchoModel) -> None:
    assert get(echo, "/")[0] == 200
    assert get(echo, "/health")[0] == 200
    code, body = get(echo, "/v1/models")
    assert code == 200
    assert [model["id"] for model in body["data"]] == ["echo"]


def test_a_wrong_or_missing_key_is_a_401_in_openais_envelope() -> None:
    with EchoModel(key="sk-right") as echo:
        for headers in ({}, {"Authorization": "Bearer sk-wrong"}, {"Authorization": "sk-right"}):
            code, body = post(echo, asked("x"), headers=headers)
            assert code == 401
            assert set(body["error"]) == {"message", "type", "param", "code"}
            assert body["error"]["code"] == "invalid_api_key"
            assert "sk-" not in body["error"]["message"]
        assert echo.calls == 0
        assert post(echo, asked("x"), headers={"Authorization": "Bearer sk-right"})[0] == 200
        assert get(echo, "/v1/models")[0] == 401
        assert get(echo, "/health")[0] == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{not json", None),
        (b"", None),
        (b"[1]", None),
        (b'"\xff"', None),
        (b"[" * 100_000, None),
        (b"{}", "messages"),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":["hi"]}', "messages[0]"),
        (b'{"messages":[{"role":"user","content":"x"}],"max_tokens":0}', "max_tokens"),
        (b'{"messages":[{"role":"user","content":"x"}],"max_tokens":"9"}', "max_tokens"),
    ],
)
def test_a_bad_body_is_a_400_in_the_envelope(echo: EchoModel, body: bytes, param: str | None) -> None:
    code, answer = post(echo, body)
    assert code == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param


def test_an_unknown_path_is_a_404_and_a_wrong_method_a_405(echo: EchoModel) -> None:
    assert post(echo, asked("x"), path="/v1/responses")[0] == 404
    code, body = get(echo, CHAT)
    assert code == 405
    assert "POST" in body["error"]["message"]


def test_a_body_over_32_mib_is_a_413_the_sender_gets_to_read(echo: EchoModel) -> None:
    connection = connect(echo)
    connection.request("POST", CHAT, b" " * (32 * 1024 * 1024 + 1))
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["type"] == "invalid_request_error"
    connection.close()


@pytest.mark.parametrize(
    "head", [b"HELLO\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
)
def test_what_is_not_http_is_a_400_and_the_end(echo: EchoModel, head: bytes) -> None:
    with socket.create_connection((echo.host, echo.port), timeout=5) as sock:
        sock.sendall(head)
        answer = b""
        while data := sock.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")


# ---- HTTP itself ----


def test_one_connection_carries_many_requests(echo: EchoModel) -> None:
    connection = connect(echo)
    sockets = set()
    for index in range(5):
        connection.request("POST", CHAT, json.dumps(asked(f"n{index}", stream=index % 2 == 1)))
        sockets.add(connection.sock)
        response = connection.getresponse()
        assert f"n{index}".encode() in response.read()
    connection.request("POST", CHAT, b"{broken")  # an error does not end the connection either
    sockets.add(connection.sock)
    assert connection.getresponse().read()
    connection.close()
    assert len(sockets) == 1


def test_a_chunked_request_body_is_read(echo: EchoModel) -> None:
    connection = connect(echo)
    data = json.dumps(asked("in pieces")).encode()
    connection.request("POST", CHAT, iter([data[:10], data[10:]]), encode_chunked=True)
    assert b"in pieces" in connection.getresponse().read()
    connection.close()


def test_pipelined_requests_are_answered_in_order(echo: EchoModel) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n"
    with socket.create_connection((echo.host, echo.port), timeout=5) as sock:
        sock.sendall(request % (b"/health", b"keep-alive") + request % (b"/nowhere", b"close"))
        answer = b""
        while data := sock.recv(4096):
            answer += data
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404"]


def test_http_1_0_gets_a_stream_without_chunks(echo: EchoModel) -> None:
    body = json.dumps(asked("old", stream=True)).encode()
    with socket.create_connection((echo.host, echo.port), timeout=5) as sock:
        sock.sendall(b"POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
        answer = b""
        while data := sock.recv(4096):
            answer += data
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert said(events(rest)) == "You said: old"


def test_requests_are_recorded_with_lower_case_headers_and_parsed_bodies(echo: EchoModel) -> None:
    post(echo, asked("one"), headers={"X-Trace": "abc"})
    get(echo, "/health?full=1")
    first, second = echo.requests
    assert (first.method, first.path, first.body) == ("POST", CHAT, asked("one"))
    assert first.headers["x-trace"] == "abc"
    assert (second.method, second.path, second.body) == ("GET", "/health?full=1", None)
    assert echo.calls == 1
    echo.requests.clear()  # a copy
    assert len(echo.requests) == 2


# ---- ending ----


def test_a_client_that_leaves_mid_stream_frees_its_thread_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with EchoModel(delay_s=30) as echo:
        connection = connect(echo)
        connection.request("POST", CHAT, json.dumps(asked("a b c", stream=True)))
        response = connection.getresponse()
        response.readline()
        assert connection_threads() == 1
        connection.close()
        response.close()
        assert eventually(lambda: connection_threads() == 0, 0.5)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_a_fast_stream_leaves_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    with EchoModel(reply=lambda _: "word " * 50_000) as echo:
        connection = connect(echo)
        connection.request("POST", CHAT, json.dumps(asked("x", stream=True)))
        response = connection.getresponse()
        response.readline()
        connection.close()
        response.close()
        assert eventually(lambda: connection_threads() == 0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.alone
def test_close_ends_streams_and_idle_connections_within_100_ms() -> None:
    echo = EchoModel(delay_s=30).start()
    streaming, idle, blocked = connect(echo), connect(echo), connect(echo)
    streaming.request("POST", CHAT, json.dumps(asked("a b c", stream=True)))
    response = streaming.getresponse()
    response.readline()
    idle.request("GET", "/health")
    idle.getresponse().read()
    blocked.request("POST", CHAT, json.dumps(asked("a b c")))
    assert eventually(lambda: echo.calls == 2)
    start = time.monotonic()
    echo.close()
    assert time.monotonic() - start < 0.1
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    assert time.monotonic() - start < 0.1
    assert idle.sock.recv(1) == b""
    for connection in (streaming, idle, blocked):
        connection.close()
    response.close()


@pytest.mark.alone
def test_close_ends_a_stream_whose_client_does_not_read() -> None:
    body = json.dumps(asked("x", stream=True)).encode()
    with EchoModel(reply=lambda _: "word " * 20_000) as echo, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((echo.host, echo.port))
        sock.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
        assert sock.recv(1) == b"H"
        time.sleep(0.1)  # it fills what the kernel keeps for a socket, then blocks in a send
        assert connection_threads() == 1
        start = time.monotonic()
        echo.close()
        assert time.monotonic() - start < 0.1


def test_fifty_streams_at_once_leave_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with EchoModel(delay_s=0.01) as echo:
        with ThreadPoolExecutor(50) as pool:
            texts = list(pool.map(lambda n: said(stream(echo, asked(f"number {n}"))), range(50)))
        assert texts == [f"You said: number {n}" for n in range(50)]
        assert echo.calls == 50
    assert not set(threading.enumerate()) - before  # one of before may have ended


def test_a_server_closes_twice_and_starts_again_on_its_port() -> None:
    echo = EchoModel()
    echo.close()
    echo.start()
    url = echo.url
    assert echo.start() is echo
    echo.close()
    echo.close()
    with echo:
        assert echo.url == url
        assert get(echo, "/health")[0] == 200


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_close_gives_every_descriptor_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with EchoModel() as echo:
            assert get(echo, "/health")[0] == 200
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_module_serves_until_ctrl_c_and_prints_its_url_first() -> None:
    command = [sys.executable, "-W", "error", "-m", "luahost.testing", "--delay", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        with urllib.request.urlopen(url + "/health", timeout=5) as response:
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, "", "")


def test_importing_it_loads_no_client_and_no_event_loop() -> None:
    code = (
        "import sys; before = set(sys.modules); import luahost.testing; new = set(sys.modules) - before;"
        "print(sorted(new & {'trio', 'httpx', 'asyncio', 'http.server', 'http.client', 'email', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
