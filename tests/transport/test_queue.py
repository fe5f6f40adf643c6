"""Whose turn it is where all connections are in use: one VM's thousand calls do not starve another's one."""

from __future__ import annotations

import json
import random
import threading
from functools import partial

import pytest
import trio
import trio.testing
from servers import Conn, FaultServer
from transport_tools import a_client, nothing_out, ok, opened, origin, until, whole
from trio_tests import in_trio

from luahost import Config, Grant, Host, Provider, Source
from luahost.transport import queue
from luahost.transport.queue import Places
from luahost.transport.settings import TransportSettings

ANSWER = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}'


def slow_answers(conn: Conn, after_s: float = 0.004) -> None:
    while conn.read_request():
        if not conn.wait(after_s):
            return
        conn.send(ok(ANSWER, "Content-Type: application/json"))


# ── through the transport ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("apart", [True, False])
def test_a_thousand_calls_of_one_owner_do_not_hold_up_anothers_one(apart: bool) -> None:
    all_wait = threading.Event()

    def answers_once_all_wait(conn: Conn) -> None:
        all_wait.wait(15)
        slow_answers(conn)

    @in_trio
    async def case() -> None:
        with FaultServer(answers_once_all_wait) as server:
            async with a_client(max_connections=20) as client:
                over: list[str] = []

                async def one(who: str, owner: str) -> None:
                    async with opened(client, origin(server), owner=owner, path=f"/{who}") as answer:
                        await whole(answer)
                    over.append(who)

                async with trio.open_nursery() as nursery:
                    for _ in range(1000):
                        nursery.start_soon(one, "many", "many")
                    await until(lambda: client.transport._places.waiting > 970)
                    nursery.start_soon(one, "one", "one" if apart else "many")
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    all_wait.set()
                assert client.transport._places.waiting == 0
        at = over.index("one")
        assert at < 100 if apart else at > 900, at

    case()


@pytest.mark.parametrize("kept", [True, False])
def test_who_comes_new_finds_a_place_also_where_anothers_servers_never_answer(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kept:
        monkeypatch.setattr(queue, "KEPT_SHARE", 1000)

    @in_trio
    async def case() -> None:
        def tarpit(conn: Conn) -> None:
            conn.read_request()
            conn.wait()

        with FaultServer(tarpit) as stuck, FaultServer(slow_answers) as server:
            async with a_client(max_connections=16) as client:

                async def hang() -> None:
                    async with opened(client, origin(stuck), owner="many"):
                        raise AssertionError("it never answers")

                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        nursery.start_soon(hang)
                    await until(lambda: len(stuck.requests) == (14 if kept else 16))
                    with trio.move_on_after(5 if kept else 0.1) as scope:
                        async with opened(client, origin(server), owner="one") as answer:
                            assert await whole(answer) == ANSWER
                    assert scope.cancelled_caught != kept
                    nursery.cancel_scope.cancel()
                nothing_out(client.transport, 16)

    case()


@in_trio
async def test_each_vm_is_an_owner() -> None:
    with FaultServer(partial(slow_answers, after_s=0.03)) as server:  # so slow that a worker may come late
        config = Config(
            providers={"s": Provider(name="s", base_url=server.url, model="m")},
            provider="s",
            transport=TransportSettings(max_connections=8),
        )
        script = Source("return {run = orcs.llm, on_signal = function(s) orcs.llm(s.reason) end}")
        async with Host(config) as host:
            many, one = [await host.load(script, grants=[Grant.llm()]) for _ in range(2)]
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(many.signal, "Steer", "many")
                await until(lambda: len(server.requests) > 8)
                assert (await one.run("one"))["ok"]
                came = len(server.requests)
        asked = [json.loads(request.body)["messages"][0]["content"] for request in server.requests]
        assert len(asked) == 201
        assert asked.index("one") < came < 100


# ── by itself ───────────────────────────────────────────────────────────────────────────────────────────────


def test_owners_take_turns_and_who_has_none_comes_first() -> None:
    served: list[str] = []

    async def one(places: Places, owner: str, end: trio.Event) -> None:
        await places.acquire(owner)
        served.append(owner)
        await end.wait()
        places.release(owner)

    @in_trio
    async def case() -> None:
        places, ends = Places(2), {owner: trio.Event() for owner in "abc"}
        async with trio.open_nursery() as nursery:
            for owner in "aaaabbbc":
                nursery.start_soon(one, places, owner, ends[owner])
                await trio.testing.wait_all_tasks_blocked()
            assert served == ["a", "a"]
            ends["a"].set()  # all of a's end as soon as they have a place
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(served[2:4]) == ["b", "c"]  # which of two goes on first is up to trio
            ends["b"].set()
            ends["c"].set()
        assert (places.free, places.waiting) == (2, 0)
        assert sorted(served) == list("aaaabbbc")

    case()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_and_is_cancelled_no_place_is_lost_and_none_lies_idle(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([1, 7, 8, 40])

    @in_trio
    async def case() -> None:
        places = Places(count)
        ended: list[int] = []

        def sound() -> None:
            held = sum(places._held.values())
            assert places.free >= 0
            assert places.free + held == count
            assert not (places._new and places.free), "a place lies idle that a newcomer waits for"
            assert not (places._others and places.free > count // queue.KEPT_SHARE)
            assert all(not places._held[owner] for owner in places._new)
            assert all(places._held[owner] for owner in places._others)

        async def one(owner: int) -> None:
            with trio.move_on_after(rng.expovariate(100)):
                await places.acquire(owner)
                try:
                    sound()
                    await trio.sleep(rng.expovariate(200))
                finally:
                    places.release(owner)
                    sound()
            ended.append(owner)
            sound()

        async with trio.open_nursery() as nursery:
            for number in range(600):
                nursery.start_soon(one, rng.choice([0, 0, 0, 1, 2, number]))
                if rng.random() < 0.2:
                    await trio.sleep(0.001)
        assert len(ended) == 600
        assert (places.free, places.waiting, dict(places._held)) == (count, 0, {})

    case()


def test_a_cancel_that_comes_with_the_place_leaves_it_with_whoever_got_it() -> None:
    @in_trio
    async def case() -> None:
        places = Places(1)
        await places.acquire("a")
        async with trio.open_nursery() as nursery:
            got: list[bool] = []

            async def waits() -> None:
                with trio.CancelScope() as scope:
                    scopes.append(scope)
                    await places.acquire("b")
                    got.append(True)
                    places.release("b")

            scopes: list[trio.CancelScope] = []
            nursery.start_soon(waits)
            await trio.testing.wait_all_tasks_blocked()
            places.release("a")
            scopes[0].cancel()
        assert got == [True]
        assert places.free == 1

    case()
