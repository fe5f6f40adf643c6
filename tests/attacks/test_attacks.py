"""Every attack of the corpus, and beside it a control: the harmless twin that the same sandbox lets through.

One attack after another, so that what it did to the others can be seen: corpus.py says what must hold after each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import trio
from arena import ALONE, PRELUDE, SECRET, Arena, Outcome
from corpus import CASES, Case
from trio_tests import Passes
from vitals import LATE_S

from luahost import Limits
from luahost.errors import ConfigError, HostFault, LuahostError, ScriptError
from luahost.values import Source

MOST_BY_PROCESS_KILL = 12
"""Of the fights alone and shared together: kills are gentle, and an attack more that needs its worker ended wants a look."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(tmp_path_factory.mktemp("arena")) as arena:
        yield arena


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_control_succeeds(arena: Arena, case: Case) -> None:
    assert 1 <= len(case.control.splitlines()) <= 8
    outcome = arena.call(arena.fight, arena.prelude + case.control, f"{case.name}.lua", ALONE, case.holds)
    assert outcome.text == "'CONTROL'", str(outcome)


@pytest.fixture(scope="module")
def process_kills() -> list[str]:
    return []


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_an_attack_is_contained(arena: Arena, case: Case, process_kills: list[str]) -> None:
    fought = case.fight(arena)
    process_kills += [case.name for outcome in (fought.alone, fought.shared) if outcome.how == "process kill"]
    assert not case.problems(fought)


def test_most_kills_are_gentle_and_nothing_of_the_host_came_out(arena: Arena, process_kills: list[str]) -> None:
    assert len(process_kills) <= MOST_BY_PROCESS_KILL, process_kills
    assert arena.call(arena.two) == 2
    assert not [said for said in arena.said if SECRET in said or "\x1b" in said or "\r" in said]


# ── the checks themselves ───────────────────────────────────────────────────────────────────────────────


LEAKS = {
    "another origin's answer": (
        "return orcs.http('GET', ATTACK.internal_url).ok and 'SAFE'",
        "a connection to 127.0.0.1",
    ),
    "a smuggled header": (
        "orcs.http('GET', ATTACK.evil_base_url, { headers = { ['X-Evil'] = '1' } }) return 'SAFE'",
        "smuggled",
    ),
    "an escape": ("return 'ESCAPED'", "alone: SAFE expected"),
    "another end": ("error('x')", "alone: SAFE expected"),
    "a secret": (f"return '{SECRET}'", "alone: the secret came out"),
    "a late end": ("orcs.sleep(1.1) return 'SAFE'", "alone: late"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_an_attack_that_gets_somewhere_is_seen(arena: Arena, leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the checks: each of them fails where it must."""
    body, problem = LEAKS[leak]
    case = Case("leak", f"-- group: data\n-- expect: SAFE\n-- holds: http\n{body}", "")
    monkeypatch.setattr(Arena, "private_too", True)
    fought = arena.call(arena.all_three, case.text, "leak.lua", case.holds)
    assert any(problem in found for found in case.problems(fought)), leak


def test_what_an_attack_does_to_the_others_is_seen(arena: Arena) -> None:
    kept: list[bytes] = []

    async def harm() -> list[str]:
        async with arena.vitals.around() as seen:
            descriptor = os.open("/dev/null", os.O_RDONLY)
            vm = await arena.host.load(Source("return 1"))
            kept.append(b"x" * (96 << 20))
            time.sleep(0.05)  # noqa: ASYNC251 - that is the harm
        os.close(descriptor)
        await vm.close()
        return seen.troubles

    troubles = arena.call(harm)
    for trouble in ("1 worker processes", "1 VMs", "descriptors", "tasks", "MB in the host", "ms late"):
        assert any(trouble in found for found in troubles), (trouble, troubles)


# ── what cannot be stored as a case ─────────────────────────────────────────────────────────────────────


BYTECODE = b"\x1bLuaT\0\x19\x93\r\n\x1a\n\x04\x08\x08" + b"\0" * 64


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (BYTECODE, ConfigError),
        (b"\xef\xbb\xbf" + BYTECODE, ConfigError),
        (b" " * 30_000_000, ConfigError),
        (b"--[[" * 7_500_000, ConfigError),
        (b"#!/usr/bin/lua\n" + BYTECODE, ScriptError),
        (b"--[[" * 60_000, ScriptError),
        (b"return " + b"(" * 200_000, ScriptError),
        (b"return a " + b"or a " * 50_000, ScriptError),
        (b"\xff\xfe\0\0", ScriptError),
    ],
    ids=[
        "bytecode",
        "bom+bytecode",
        "30MB-spaces",
        "30MB-comment",
        "shebang+bytecode",
        "open-comment",
        "nesting",
        "jumps",
        "utf16",
    ],
)
def test_a_main_script_that_is_no_lua_is_refused(arena: Arena, text: bytes, error: type[LuahostError]) -> None:
    async def load() -> None:
        with pytest.raises(error) as raised, trio.fail_after(2):
            await arena.host.load(Source(text, "odd.lua"), limits=ALONE)
        assert len(raised.value.message) < 3000

    arena.call(load)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfreturn 42",
        b"#!/usr/bin/env lua\nreturn 42",
        b"\xef\xbb\xbf#!/x\nreturn 42",
        b" " * 200_000 + b"return 42",
    ],
    ids=["bom", "shebang", "both", "spaces"],
)
def test_a_byte_order_mark_and_a_shebang_line_are_skipped(arena: Arena, text: bytes) -> None:
    assert arena.call(arena.fight, text, "odd.lua").text == "42"


@pytest.mark.parametrize("name", ["fifo", "out", ".", "absent.lua", "modules"])
def test_a_script_that_is_no_regular_file_is_refused_at_once(arena: Arena, name: str) -> None:
    async def load() -> None:
        with pytest.raises(ConfigError), trio.fail_after(2):
            await arena.host.load(arena.folder / name)

    arena.call(load)


def test_line_numbers_stay_behind_a_shebang_and_a_byte_order_mark(arena: Arena) -> None:
    outcome = arena.call(arena.fight, b"\xef\xbb\xbf#!/usr/bin/lua\nerror('x')", "odd.lua")
    assert "odd.lua:2: x" in outcome.text


def test_the_attack_table_does_not_move_lines(arena: Arena) -> None:
    assert PRELUDE and "\n" not in PRELUDE
    assert "s.lua:2: x" in arena.call(arena.fight, PRELUDE + "-- first\nerror('x')", "s.lua").text


# ── the others, meanwhile ───────────────────────────────────────────────────────────────────────────────

NOISY = {
    "spin": "while true do end",
    "fill": "local t = {} for i = 1, 1e9 do t[i] = { i } end",
    "slow compare": "local a, b = ('\\0'):rep(7e6) .. 'x', ('\\0'):rep(7e6) .. 'y' while true do local x = a < b end",
    "print": "while true do print('x') print(('x'):rep(1000)) orcs.log('info', '') end",
    "calls": "while true do orcs.caps() end",
    "large results": "return ('x'):rep(8000000)",
    "many nodes": "local t = {} for i = 1, 69990 do t[i] = {} end return t",
    "many lists": "local t, l = {}, orcs.array{} for i = 1, 34990 do t[i] = { l } end return t",
    "many numbers": "local t = {} for i = 1, 69990 do t[i] = -math.pi / i end return t",
    "many texts of bytes": "local t = {} for i = 1, 69990 do t[i] = ('\\x80'):rep(40) end return t",
    "too many nodes": "local t = {} for i = 1, 100000 do t[i] = {} end return t",
}


@pytest.mark.parametrize("attack", NOISY)
def test_a_sibling_answers_and_the_event_loop_is_not_late_while_an_attack_runs(arena: Arena, attack: str) -> None:
    limits = Limits(cpu_s=0.3, memory_bytes=64 << 20)

    async def measure() -> tuple[float, int]:
        answers, over = 0, trio.Event()

        async def fight() -> None:
            await arena.fight(NOISY[attack], "noisy.lua", limits)
            over.set()

        sibling = await arena.host.load(Source("return { run = function(n) return n + 1 end }"))
        with Passes() as passes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fight)
                while not over.is_set():
                    assert await sibling.run(answers) == answers + 1
                    answers += 1
                    await trio.sleep(0.01)
        await sibling.close()
        return passes.longest_s, answers

    for _ in range(3):  # threads that hold Python take longer where the machine is busy
        longest_s, answers = arena.call(measure)
        if longest_s < LATE_S:
            break
    assert longest_s < LATE_S, f"the event loop was {longest_s * 1000:.0f} ms late"
    assert answers > 0


@pytest.mark.parametrize("isolation", ["vm", "shared"])
def test_a_script_that_only_calls_the_host_is_ended_by_its_vm_s_own_limit(arena: Arena, isolation: str) -> None:
    """Each of its steps is shorter than a tick of the process's clock."""

    async def fight() -> Outcome:
        limits = Limits(cpu_s=0.1, isolation=isolation)
        with trio.fail_after(30):
            return await arena.fight("while true do pcall(orcs.caps) end", "calls.lua", limits)

    outcome = arena.call(fight)
    assert (outcome.verdict, outcome.how) == ("KILLED", "in-VM kill"), str(outcome)


def test_a_worker_that_is_killed_from_outside_is_reported_as_lost(arena: Arena) -> None:
    async def kill() -> None:
        vm = await arena.host.load(Source("return { run = function() orcs.sleep(5) end }"))
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(HostFault) as raised:
                    await vm.run()
                assert raised.value.kind == "worker_lost"

            nursery.start_soon(run)
            await trio.sleep(0.05)
            os.kill(vm._port.worker.pid, 11)
        await vm.close()

    arena.call(kill)
