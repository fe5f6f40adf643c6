"""Addresses: what is public, that the address checked is the address connected to, and in which order."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import trio.testing
from servers import Conn, FaultServer, unused_port
from transport_tools import a_client, ok, opened, whole
from trio_tests import in_trio

from luahost.errors import WorldError
from luahost.gate.hosts import Origin
from luahost.transport import addresses
from luahost.transport.addresses import LOOKUPS, AddressRefused, Lookups, connect, is_public, resolve

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "2002:808:808::1",  # 6to4 of 8.8.8.8
    "64:ff9b::808:808",  # NAT64 of 8.8.8.8
]
PRIVATE = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fd12:3456::1"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1"],
    "metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
    "special": ["192.0.0.1", "192.0.0.170", "192.88.99.1", "198.18.0.1", "198.19.255.255", "240.0.0.1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "broadcast": ["255.255.255.255"],
    "site-local": ["fec0::1"],
    "discard, dummy, segments": ["100::1", "100:0:0:1::1", "5f00::1"],
    "ipv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"],
    "ipv4-compatible": ["::127.0.0.1", "::10.0.0.1", "::8.8.8.8"],
    "ipv4-translated": ["::ffff:0:127.0.0.1"],
    "6to4": ["2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:e000:1::"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "64:ff9b:1::a00:1"],
    "teredo": ["2001:0:808:808::f5ff:fffe", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "ietf": ["2001::1", "2001:2::1", "2001:10::1", "2001:20::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(("why", "address"), [(why, one) for why, many in PRIVATE.items() for one in many])
def test_not_public(why: str, address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "1.2.3", "0x7f.0.0.1", "2130706433", "127.1", "[::1]", "1.2.3.4.5"]
)
def test_what_is_no_address_is_an_error_and_not_an_answer(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        is_public(text)


# ── resolving ───────────────────────────────────────────────────────────────────────────────────────────────


class Resolver(trio.abc.HostnameResolver):
    """Answers each question with the next of these; the last one for ever."""

    def __init__(self, *answers: list[str] | OSError, port: int | None = None) -> None:
        self.asked: list[Any] = []
        self._answers = list(answers)

    async def getaddrinfo(self, host: Any, port: Any, family: int = 0, *more: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        self.asked.append(host.decode() if isinstance(host, bytes) else host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [_entry(address, int(port)) for address in answer]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


def _entry(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


@contextmanager
def resolving(*answers: list[str] | OSError) -> Iterator[Resolver]:
    resolver = Resolver(*answers)
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        yield resolver
    finally:
        trio.socket.set_custom_hostname_resolver(before)


@in_trio
async def test_one_private_address_among_public_ones_refuses_the_host() -> None:
    for found in (["10.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["2606:4700::1111", "::ffff:127.0.0.1"], ["fe80::1"]):
        with resolving(found):
            with pytest.raises(AddressRefused):
                await resolve("a.example", 443, may_be_private=False, lookups=Lookups())
            assert len(await resolve("a.example", 443, may_be_private=True, lookups=Lookups())) == len(found)
    with resolving(["1.1.1.1", "2606:4700::1111"]):
        assert await resolve("a.example", 443, may_be_private=False, lookups=Lookups()) == [
            (socket.AF_INET, "1.1.1.1"),
            (socket.AF_INET6, "2606:4700::1111"),
        ]


@pytest.mark.parametrize(
    ("found", "order"),
    [
        (["1.1.1.1"], "1.1.1.1"),
        (["1.1.1.1", "1.1.1.1", "8.8.8.8"], "1.1.1.1 8.8.8.8"),
        (["2606::1", "2606::2", "2606::3", "1.1.1.1", "8.8.8.8"], "2606::1 1.1.1.1 2606::2 2606::3 8.8.8.8"),
        (["1.1.1.1", "8.8.8.8", "2606::1"], "1.1.1.1 2606::1 8.8.8.8"),
        (["1.1.1.1", "2606::1", "8.8.8.8"], "1.1.1.1 2606::1 8.8.8.8"),
    ],
)
def test_the_resolvers_order_is_kept_but_the_families_take_turns_at_the_start(found: list[str], order: str) -> None:
    @in_trio
    async def case() -> None:
        with resolving(found):
            got = await resolve("a.example", 443, may_be_private=False, lookups=Lookups())
            assert " ".join(address for _, address in got) == order

    case()


@in_trio
async def test_a_literal_is_judged_without_a_resolver() -> None:
    with resolving(OSError("asked")) as resolver:
        for literal in ("127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"):
            with pytest.raises(AddressRefused):
                await resolve(literal, 80, may_be_private=False, lookups=Lookups())
        assert resolver.asked == []


@in_trio
async def test_rebinding_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch | None = None,
) -> None:
    """A name that is public when it is checked and private a moment later is never connected to privately."""
    with (
        FaultServer(lambda conn: conn.send(ok(b"the secret inside"))) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        tried: list[str] = []

        async def watched(family: int, address: str, port: int) -> trio.SocketStream:
            tried.append(address)
            raise OSError(errno.ENETUNREACH, "no such network here")

        patch.setattr(addresses, "_connect_one", watched)
        where = Origin("http", "rebind.example", server.port)
        with resolving(["93.184.216.34"], ["127.0.0.1"]) as resolver:
            async with a_client() as client:
                kinds = []
                for _ in range(3):
                    with pytest.raises(WorldError) as caught:
                        async with opened(client, where, may_be_private=False):
                            pass
                    kinds.append(caught.value.kind)
        assert kinds == ["network", "host_not_allowed", "host_not_allowed"]
        assert tried == ["93.184.216.34"]
        assert resolver.asked == ["rebind.example"] * 3, "once per connection"
        assert server.connections == 0


@in_trio
async def test_a_private_address_is_refused_by_kind_before_anything_is_opened_and_reached_when_named() -> None:
    def handler(conn: Conn) -> None:
        if conn.read_request():
            conn.respond(200, body=b"here")

    with FaultServer(handler) as server:
        async with a_client() as client:
            with resolving(["127.0.0.1"]):
                for host in ("127.0.0.1", "intern.example"):
                    with pytest.raises(WorldError) as caught:
                        async with opened(client, Origin("http", host, server.port), may_be_private=False):
                            pass
                    error = caught.value
                    assert (error.kind, error.retryable, error.phase) == ("host_not_allowed", False, "connect")
                    assert "127.0.0.1" not in error.message or host == "127.0.0.1"
                assert server.connections == 0
                async with opened(client, Origin("http", "intern.example", server.port)) as answer:
                    assert await whole(answer) == b"here"


@in_trio
async def test_a_name_that_is_not_known_is_dns() -> None:
    with resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")):
        async with a_client() as client:
            with pytest.raises(WorldError) as caught:
                async with opened(client, Origin("http", "nowhere.example", 80)):
                    pass
    assert (caught.value.kind, caught.value.retryable, caught.value.phase) == ("dns", False, "connect")


@pytest.mark.alone
@in_trio
async def test_a_resolver_that_never_answers_is_a_connect_timeout() -> None:
    class Mute(Resolver):
        async def getaddrinfo(self, host: Any, port: Any, family: int = 0, *more: Any) -> list[Any]:
            await trio.sleep_forever()
            return []

    trio.socket.set_custom_hostname_resolver(Mute([]))
    async with a_client() as client:
        began = time.perf_counter()
        with pytest.raises(WorldError) as caught:
            async with opened(client, Origin("http", "slow.example", 80), connect_timeout_s=0.05):
                pass
        assert 0.04 < time.perf_counter() - began < 0.5
    assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")


@in_trio
async def test_slow_names_of_one_owner_take_neither_every_thread_nor_anothers_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, going_on, asked = socket.getaddrinfo, threading.Event(), []

    def slow(host: Any, *more: Any, **named: Any) -> Any:
        if b".slow" not in (host if isinstance(host, bytes) else str(host).encode()):
            return real(host, *more, **named)
        if named.get("flags") or (len(more) > 4 and more[4]):  # only whether it is an address
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        asked.append(host)
        going_on.wait(30)
        return [_entry("127.0.0.1", 80)]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookups = Lookups()

    async def ask(number: int) -> None:
        await resolve(f"{number}.slow.test", 80, may_be_private=True, lookups=lookups, owner="greedy")

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.2):  # given up, and still under way
            async with trio.open_nursery() as given_up:
                for number in range(30):
                    given_up.start_soon(ask, number)
        for number in range(30, 100):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            assert await trio.to_thread.run_sync(int) == 0, "a thread is free for a file"
            found = await resolve("localhost", 80, may_be_private=True, lookups=lookups, owner="other")
            assert any(address == "127.0.0.1" for _, address in found)
        assert len(asked) < LOOKUPS
        going_on.set()


# ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────

V4 = int(socket.AF_INET)


class Network:
    """_connect_one with a plan: seconds until an address answers, or fails."""

    def __init__(self, patch: pytest.MonkeyPatch, plan: dict[str, tuple[float, int]]) -> None:
        self.tried: list[tuple[str, float]] = []
        self.open: list[socket.socket] = []
        self._plan, self._began = plan, trio.current_time()
        patch.setattr(addresses, "_connect_one", self._connect)

    async def _connect(self, family: int, address: str, port: int) -> trio.SocketStream:
        self.tried.append((address, round(trio.current_time() - self._began, 3)))
        after_s, failure = self._plan[address]
        await trio.sleep(after_s)
        if failure:
            raise OSError(failure, address)
        near, far = trio.socket.socketpair()
        far.close()
        self.open.append(near)  # type: ignore[arg-type]
        return trio.SocketStream(near)

    @property
    def left_open(self) -> int:
        return sum(sock.fileno() != -1 for sock in self.open)


def with_network(plan: dict[str, tuple[float, int]], check: Any) -> None:
    async def case() -> None:
        with pytest.MonkeyPatch.context() as patch:
            network = Network(patch, plan)
            await check(network, [(V4, address) for address in plan])
            assert network.left_open == 0

    trio.run(case, clock=trio.testing.MockClock(autojump_threshold=0))


REFUSED, UNREACHABLE = errno.ECONNREFUSED, errno.ENETUNREACH


def test_the_next_address_is_tried_after_a_quarter_of_a_second_and_the_first_to_answer_wins() -> None:
    async def check(network: Network, found: list[tuple[int, str]]) -> None:
        stream = await connect(found, 80)
        assert network.tried == [("a", 0.0), ("b", 0.25), ("c", 0.5)]
        assert trio.current_time() == pytest.approx(0.6, abs=0.001)
        assert stream.socket is network.open[0]
        assert network.left_open == 1
        await stream.aclose()

    with_network({"a": (9.0, 0), "b": (9.0, 0), "c": (0.1, 0), "d": (0.0, 0)}, check)


def test_an_address_that_fails_makes_room_for_the_next_at_once() -> None:
    async def check(network: Network, found: list[tuple[int, str]]) -> None:
        await (await connect(found, 80)).aclose()
        assert network.tried == [("a", 0.0), ("b", 0.0), ("c", 0.1)]

    with_network({"a": (0.0, REFUSED), "b": (0.1, UNREACHABLE), "c": (0.0, 0)}, check)


def test_when_none_answers_the_last_error_is_told() -> None:
    async def check(network: Network, found: list[tuple[int, str]]) -> None:
        with pytest.raises(OSError, match="a") as caught:
            await connect(found, 80)
        assert caught.value.errno == REFUSED  # it failed last
        assert len(network.tried) == 3

    with_network({"a": (2.0, REFUSED), "b": (0.1, UNREACHABLE), "c": (0.0, UNREACHABLE)}, check)


def test_two_that_answer_at_once_leave_one_socket() -> None:
    async def check(network: Network, found: list[tuple[int, str]]) -> None:
        stream = await connect(found, 80)
        assert network.left_open == 1
        await stream.aclose()

    with_network({"a": (0.25, 0), "b": (0.0, 0)}, check)
    with_network({"a": (0.5, 0), "b": (0.25, 0), "c": (0.0, 0)}, check)


@pytest.mark.parametrize("at_s", [0.0, 0.1, 0.25, 0.3, 0.5])
def test_cancelled_while_connecting_no_socket_is_left(at_s: float) -> None:
    async def check(network: Network, found: list[tuple[int, str]]) -> None:
        with trio.move_on_after(at_s):
            stream = await connect(found, 80)
            await stream.aclose()

    with_network({"a": (0.5, 0), "b": (0.25, 0), "c": (0.0, 0), "d": (0.0, REFUSED)}, check)


@pytest.mark.alone
@in_trio
async def test_nobody_listens_at_any_address() -> None:
    port = unused_port()
    for found in ([(V4, "127.0.0.1")], [(V4, "127.0.0.1"), (V4, "127.0.0.2"), (V4, "127.0.0.3")]):
        began = time.perf_counter()
        with pytest.raises(ConnectionRefusedError):
            await connect(found, port)
        assert time.perf_counter() - began < 0.2, "a refusal is not waited for"


@in_trio
async def test_one_of_several_addresses_is_enough() -> None:
    with FaultServer(lambda conn: conn.send(ok()), host="127.0.0.2") as server:
        stream = await connect([(V4, "127.0.0.1"), (V4, "127.0.0.2"), (V4, "127.0.0.3")], server.port)
        assert stream.socket.getpeername()[0] == "127.0.0.2"
        await stream.aclose()


@in_trio
async def test_an_address_that_is_silent_is_a_connect_timeout() -> None:
    """A listener whose backlog is full: the system neither takes nor refuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            await trio.sleep(0.02)
            async with a_client() as client:
                with pytest.raises(WorldError) as caught:
                    async with opened(client, Origin("http", "127.0.0.1", port), connect_timeout_s=0.1):
                        pass
            assert (caught.value.kind, caught.value.phase) == ("timeout", "connect")
            assert caught.value.retryable
        finally:
            for filler in fillers:
                filler.close()
