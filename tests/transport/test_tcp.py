"""The stream under each connection: all of it arrives, and its ends are those of trio's own streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from trio_tests import in_trio

from luahost.transport.tcp import Tcp


def pair() -> tuple[Tcp, Tcp]:
    near, far = trio.socket.socketpair()
    return Tcp(near), Tcp(far)


@in_trio
async def test_what_is_larger_than_the_sockets_buffer_arrives_whole() -> None:
    near, far = pair()
    sent, came = bytes(range(256)) * 40_000, bytearray()

    async def send() -> None:
        await near.send_all(sent)
        await near.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while data := await far.receive_some(100_000):
            assert len(data) <= 100_000
            came += data
    assert came == sent
    await far.aclose()


ACTS: dict[str, Callable[[Tcp], Awaitable[object]]] = {
    "receive": Tcp.receive_some,
    "send": lambda stream: stream.send_all(b"x"),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_closed_stream_says_so(act: str) -> None:
    @in_trio
    async def case() -> None:
        near, far = pair()
        near.socket.close()
        with pytest.raises(trio.ClosedResourceError):
            await ACTS[act](near)
        await far.aclose()

    case()


@in_trio
async def test_who_waits_hears_that_the_stream_is_closed() -> None:
    near, far = pair()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        near.socket.close()
    await far.aclose()


@in_trio
async def test_a_stream_whose_other_end_is_gone_is_broken() -> None:
    near, far = pair()
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")
    await near.aclose()


@pytest.mark.parametrize("act", ACTS)
def test_a_cancelled_act_does_nothing(act: str) -> None:
    @in_trio
    async def case() -> None:
        near, far = pair()
        await far.send_all(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await ACTS[act](near)
        assert scope.cancelled_caught
        assert await near.receive_some() == b"kept"
        await near.aclose()
        assert await far.receive_some() == b""
        await far.aclose()

    case()
