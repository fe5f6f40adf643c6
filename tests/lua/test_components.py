"""Components and children written as the upstream's samples are (UPSTREAM §1.6): they load, and do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from trio_tests import in_trio

from luahost import Grant, Host, ScriptError

COMPONENTS = Path(__file__).parent / "components"


@in_trio
async def test_echo_answers_requests_and_cannot_abort_itself_on_veto() -> None:
    async with Host() as host:
        echo = await host.load(COMPONENTS / "echo.lua")
        assert await echo.request("echo", {"n": [1]}, category="Echo") == {"n": [1]}
        with pytest.raises(ScriptError, match="unknown operation: fly"):
            await echo.request("fly")
        assert (await echo.signal("Veto"), await echo.signal("Steer")) == ("Handled", "Ignored")
        assert await echo.request("input", "still here") == "still here"


@in_trio
async def test_the_manager_divides_its_work_among_workers_read_from_beside_it() -> None:
    said: list[tuple[str, str, str]] = []
    async with Host(output=lambda *each: said.append(each)) as host:
        manager = await host.load(COMPONENTS / "manager.lua", grants=[Grant.spawn(max_children=3)])
        assert await manager.request("status") == {"children": 3, "max": 3}
        texts = [{"text": "one"}, {"text": "two words"}, {"text": "and three words"}, {"text": "four"}]
        assert await manager.request("divide", texts) == 7
        with pytest.raises(ScriptError, match="text is missing"):
            await manager.request("divide", [{"text": "fine"}, {"no": "text"}])
        assert await manager.children["worker-1"].signal("Veto") == "Abort"  # a child can
        assert await manager.request("status") == {"children": 2, "max": 3}
        await manager.close()
    assert said == [("manager", "output", "manager: 2 workers go home\n")]


@in_trio
async def test_without_spawn_the_managers_init_fails_with_the_refusal() -> None:
    async with Host() as host:
        with pytest.raises(Exception, match="spawn denied"):
            await host.load(COMPONENTS / "manager.lua")


@in_trio
async def test_a_spawner_among_children_asks_a_subagent_of_its_own() -> None:
    said: list[tuple[str, str, str]] = []
    async with Host(output=lambda *each: said.append(each)) as host:
        root = await host.load(COMPONENTS / "echo.lua", grants=[Grant.spawn()])
        spawner = await root.spawn("spawner", COMPONENTS / "spawner_child.lua", grants=[root.delegate("spawn")])
        assert await spawner.run("hello") == {"told": "subagent heard: hello", "children": 1}
    assert said == [("echo/spawner/sub", "output", "subagent: hello\n")]


@in_trio
async def test_life_goes_on_from_a_snapshot() -> None:
    blinker = [".....", "..#..", "..#..", "..#..", "....."]
    turned = [".....", ".....", ".###.", ".....", "....."]
    async with Host() as host:
        life = await host.load(COMPONENTS / "life_game.lua")
        assert await life.request("set", blinker) == blinker
        assert await life.request("step") == turned
        kept = await life.snapshot()
        again = await host.load(COMPONENTS / "life_game.lua", restore=kept)
        assert await again.request("step") == blinker
        with pytest.raises(ScriptError, match="a snapshot of 'echo' expected"):
            await host.load(COMPONENTS / "echo.lua", restore=kept)
