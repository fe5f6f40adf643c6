"""orcs.http under its grant, against real loopback servers: where it may go, what goes along, what comes back."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest
import trio
from servers import Conn, FaultServer
from trio_tests import in_trio

from luahost import AllowOnce, ApprovalRequest, Grant, Host, Source
from luahost.errors import ConfigError
from luahost.gate.hosts import parse_url
from luahost.gate.permits import HttpAction
from luahost.gate.policy import judge

CALL = "return function(a) return orcs.http(a[1], a[2], a[3]) end"


async def ask(host: Host, grant: Grant | None, *call: Any) -> Any:
    vm = await host.load(Source(CALL), grants=[] if grant is None else [grant])
    try:
        return await vm.run(list(call))
    finally:
        await vm.close()


def site(conn: Conn) -> None:
    """Says back what it was sent; /to?URL redirects, /big never ends, /slow waits, /bin and /gzip have odd bodies."""
    request = conn.read_request()
    if request is None:
        return
    path, _, query = request.path.partition("?")
    status = int(path[3:]) if path[1:3] == "to" and path[3:] else 302
    if path.startswith("/to"):
        conn.respond(status, [("Location", query)])
    elif path == "/big":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            conn.send(b"x" * 65536)
    elif path == "/drip":
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while conn.wait(0.01):
            conn.send(b"x")
    elif path == "/slow":
        conn.wait(30)
    elif path == "/bin":
        conn.respond(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-A", "1"), ("X-A", "2")], b"\xff\x00")
    elif path == "/gzip":
        conn.respond(200, [("Content-Encoding", "gzip")], gzip.compress(b"0" * 20_000_000))
    else:
        lines = [f"{request.method} {request.path}"]
        lines += [f"{name}: {value}" for name, value in sorted(request.headers.items())]
        conn.respond(404 if path == "/missing" else 200, body="\n".join(lines).encode() + b"\n\n" + request.body)


def local(server: FaultServer, **more: Any) -> Grant:
    return Grant("http", hosts=[f"127.0.0.1:{server.port}"], **more)


@in_trio
async def test_any_answer_of_a_server_is_ok_and_its_bytes_and_headers_are_kept() -> None:
    with FaultServer(site) as server:
        async with Host() as host:
            grant = local(server)
            done = await ask(
                host, grant, "post", f"{server.url}/a%20b?q=1#part", {"body": "hello", "headers": {"X-Mine": "1"}}
            )
            assert done["ok"] and done["status"] == 200 and done["url"] == f"{server.url}/a%20b?q=1"
            assert done["body"].startswith("POST /a%20b?q=1\n") and done["body"].endswith("\n\nhello")
            assert "x-mine: 1" in done["body"]
            missing = await ask(host, grant, "GET", f"{server.url}/missing")
            assert missing["ok"] and missing["status"] == 404
            odd = await ask(host, grant, "GET", f"{server.url}/bin")
            assert odd["body"] == b"\xff\x00" and odd["headers"]["x-a"] == "1, 2"
            assert odd["all_headers"]["set-cookie"] == ["a=1", "b=2"]
            again = await ask(host, grant, "GET", f"{server.url}/")
            assert "cookie" not in again["body"], "nothing of one request is in the next"


@in_trio
async def test_without_a_grant_or_outside_of_it_no_request_is_sent() -> None:
    with FaultServer(site) as server:
        async with Host() as host:
            url = f"{server.url}/x"
            assert (await ask(host, None, "GET", url))["error_kind"] == "permission_denied"
            private = (await ask(host, Grant("http"), "GET", url))["detail"]
            assert private["grant"] == f"http:hosts=127.0.0.1:{server.port}", "what would allow it"
            assert (await ask(host, Grant("http"), "GET", url))["error_kind"] == "host_not_allowed", (
                "a private address"
            )
            assert (await ask(host, local(server, methods=["POST"]), "GET", url))["detail"]["rule"] == "methods"
            assert (await ask(host, local(server, paths=["/api"]), "GET", url))["error_kind"] == "path_not_allowed"
            assert (await ask(host, Grant("http", hosts=["other.test"]), "GET", url))["detail"]["rule"] == "hosts"
            by_name = url.replace("127.0.0.1", "localhost")
            assert (await ask(host, local(server), "GET", by_name))["detail"]["rule"] == "hosts", "spelt otherwise"
        assert server.connections == 0
        async with Host() as host:
            assert (await ask(host, Grant("http", allow_private=True), "GET", url))["ok"], "the control"


SPELLINGS = [
    *(
        "http://user:pw@a.test/",
        "http://a.test:0/",
        "http://a.test.:80/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
    ),
    *(
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "ftp://a.test/",
        "file:///etc/passwd",
        "http:///x",
        "//a.test/",
    ),
    *(
        "http://a.test\\@b.test/",
        "http://a.test/\r\nX: 1",
        "http://a.test/ x",
        "http://bücher.test/",
        "http://a.test:99999/",
    ),
    *(
        "http://a.test/a/../b",
        "http://a.test/%2e%2E/b",
        "http://a.test/./b",
        "http://a.test/v1/..;/b",
        "http://a.test/v1/%2e%2e%3Bx/b",
        "http://a test/",
        "gopher://a.test",
        "",
    ),
]


@pytest.mark.parametrize("url", SPELLINGS)
def test_a_url_that_two_programs_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_url(url)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1", True), ("/v1/x", True), ("/v1?x", True), ("/v10", False), ("/", False), ("/v1%2f..%2fadmin", False)],
)
def test_a_path_prefix_is_whole_names(path: str, allowed: bool) -> None:
    origin, target = parse_url(f"https://a.test{path}")
    grant = Grant("http", hosts=["a.test"], paths=["/v1/"])
    assert (judge(grant, HttpAction(method="GET", origin=origin, target=target), 0.0) is None) is allowed


HEADERS = [
    *({"Host": "b.test"}, {"Content-Length": "1"}, {"transfer-encoding": "chunked"}, {"Connection": "close"}),
    *(
        {"A": "x\r\nB: y"},
        {"A\r\nB": "y"},
        {"A": "x\x00"},
        {"": "x"},
        {"A b": "x"},
        {"Proxy-Authorization": "x"},
        {"A": "ü"},
    ),
    *({"A": "x" * 40_000}, {f"A{n}": "" for n in range(101)}),
]


@in_trio
async def test_headers_that_would_break_the_request_s_frame_are_refused() -> None:
    with FaultServer(site) as server:
        async with Host() as host:
            for headers in HEADERS:
                refused = await ask(host, local(server), "GET", server.url, {"headers": headers})
                assert refused["error_kind"] == "invalid_options", headers
                assert refused["detail"]["field"].startswith("headers")
        assert server.connections == 0


@in_trio
async def test_a_redirect_is_followed_only_if_the_grant_says_so_and_each_hop_is_judged() -> None:
    with FaultServer(site) as server, FaultServer(site) as other:
        async with Host() as host:
            url, secret = (
                f"{server.url}/to?{other.url}/landed",
                {"headers": {"Authorization": "Bearer t", "Accept": "a/b"}},
            )
            plain = await ask(host, local(server), "GET", url, secret)
            assert plain["status"] == 302 and plain["redirects"] == 0 and other.connections == 0
            refused = await ask(host, local(server, max_redirects=3), "GET", url, secret)
            assert refused["error_kind"] == "host_not_allowed" and other.connections == 0
            both = Grant("http", hosts=[f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}"], max_redirects=3)
            landed = await ask(host, both, "GET", url, secret)
            assert landed["redirects"] == 1 and landed["url"] == f"{other.url}/landed"
            assert "bearer" not in landed["body"].lower() and "accept: a/b" in landed["body"]
            same = await ask(host, both, "GET", f"{server.url}/to?/here", secret)
            assert "Bearer t" in same["body"], "the same server hears it again"
            for status, method in ((301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")):
                hop = await ask(host, both, "POST", f"{server.url}/to{status}?/x", {"body": "b"})
                assert hop["body"].startswith(f"{method} /x") and hop["body"].endswith(
                    "b" if method == "POST" else "\n\n"
                )
            for bad in ("http://169.254.169.254/", "http://u@127.0.0.1/", "file:///etc/passwd"):
                gone = await ask(host, both, "GET", f"{server.url}/to?{bad}")
                assert gone["ok"] is False and gone["error_kind"] in ("host_not_allowed", "invalid_url"), bad
            rounds = await ask(host, both, "GET", f"{server.url}/to?/to?/to?/to?/to?/x")
            assert rounds["status"] == 302 and rounds["redirects"] == 3


@in_trio
async def test_a_redirect_is_not_followed_where_each_request_is_approved() -> None:
    seen: list[str] = []

    async def approver(request: ApprovalRequest) -> AllowOnce:
        seen.append(request.about["path"])
        return AllowOnce()

    with FaultServer(site) as server:
        async with Host(approver=approver) as host:
            held = local(server, max_redirects=3, approve="ask")
            answer = await ask(host, held, "GET", f"{server.url}/to?/landed")
            assert (answer["status"], answer["redirects"], seen) == (302, 0, ["/to"])
            answer = await ask(host, held, "GET", f"{server.url}/landed")
            assert answer["status"] == 200 and seen == ["/to", "/landed"], "it asks for that itself"


@in_trio
async def test_a_child_does_not_name_the_private_address_that_its_parent_does_not_reach() -> None:
    script = (
        "return function(a) local c = orcs.spawn_child { id = 'c', caps = { http = { hosts = { a.host } } },\n"
        "script = 'return function(url) return orcs.http(\"GET\", url) end' }\n"
        "return { orcs.http('GET', a.url).error_kind or 'ok', c:run(a.url).result.error_kind or 'ok' } end"
    )
    with FaultServer(site) as server:
        async with Host() as host:
            call = {"host": f"127.0.0.1:{server.port}", "url": server.url}
            for grant, told in (
                (Grant("http"), ["host_not_allowed", "host_not_allowed"]),
                (local(server), ["ok", "ok"]),
                (Grant("http", allow_private=True), ["ok", "ok"]),
            ):
                vm = await host.load(Source(script), grants=[grant, Grant("spawn")])
                assert await vm.run(call) == told


@in_trio
async def test_an_answer_without_end_meets_a_cap_or_the_time() -> None:
    with FaultServer(site) as server:
        async with Host() as host:
            assert (await ask(host, local(server, max_response_bytes=1000), "GET", f"{server.url}/big"))[
                "error_kind"
            ] == "too_large"
            assert (await ask(host, local(server), "GET", f"{server.url}/gzip"))["error_kind"] == "too_large", (
                "once undone"
            )
            began = time.monotonic()
            slow = await ask(host, local(server, timeout_s=0.3), "GET", f"{server.url}/slow", {"timeout": 20})
            assert (
                slow["error_kind"] == "timeout"
                and slow["detail"]["phase"] == "overall"
                and time.monotonic() - began < 5
            )


@in_trio
async def test_answers_under_way_together_are_not_larger_than_what_a_vm_may_hold() -> None:
    def endless(conn: Conn) -> None:
        request = conn.read_request()
        if request is not None and request.path == "/whole":
            conn.respond(200, body=b"x" * (7 << 20))
        elif request is not None:
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" + b"x" * (7 << 20))
            conn.wait(60)

    script = (
        "return function(a) local all = {} for n = 1, a.many do all[n] = function()\n"
        "local r = orcs.http('GET', a.url) if not r.ok then error(r.error, 0) end return #r.body end end\n"
        "local ok, told = pcall(orcs.all, all) return ok and #told or told end"
    )
    with FaultServer(endless) as server:
        async with Host() as host:
            vm = await host.load(Source(script), grants=[local(server)])
            told = await vm.run({"url": f"{server.url}/", "many": 12})
            assert "hold more than 67108864 bytes; make fewer at a time" in told
            for _ in range(2):
                assert await vm.run({"url": f"{server.url}/whole", "many": 5}) == 5, "room is given back"


@in_trio
async def test_wrong_options_name_their_field() -> None:
    async with Host() as host:
        for call, kind, field in (
            (("BREW", "http://a.test/"), "invalid_method", "method"),
            (("GET", "a.test"), "invalid_url", "url"),
            (("GET", "http://a.test/", {"timeout": 0}), "invalid_options", "timeout"),
            (("GET", "http://a.test/", {"tiemout": 1}), "invalid_options", "tiemout"),
            (("GET", "http://a.test/", {"body": 1}), "invalid_options", "body"),
        ):
            answer = await ask(host, Grant("http"), *call)
            assert (answer["error_kind"], answer["detail"]["field"]) == (kind, field)


@in_trio
async def test_a_request_that_was_sent_counts_also_when_nobody_waits_for_its_answer() -> None:
    script = "return function(url) return orcs.timeout(0.2, function() return orcs.http('POST', url) end) end"
    with FaultServer(site) as server:
        grant = local(server, max_calls=2)
        async with Host() as host:
            vm = await host.load(Source(script), grants=[grant])
            for _ in range(3):
                await vm.run(f"{server.url}/slow")
            assert len(server.requests) == 2
            assert (grant.usage()["calls"], grant.usage()["running"]) == (2, 0)


@in_trio
async def test_the_body_of_an_answer_is_read_only_while_the_grant_lasts() -> None:
    script = "return function(url) return orcs.http('GET', url) end"
    with FaultServer(site) as server:
        grant = local(server, max_response_bytes=1 << 40)
        async with Host() as host:
            vm = await host.load(Source(script), grants=[grant])
            async with trio.open_nursery() as nursery:

                async def revoke() -> None:
                    await trio.to_thread.run_sync(server.wait_requests, 1)
                    await trio.sleep(0.05)
                    grant.revoke("enough")

                nursery.start_soon(revoke)
                with trio.fail_after(5):
                    assert (await vm.run(f"{server.url}/drip"))["error_kind"] == "capability_revoked"
