"""Attacks of the corpus, changed at random and crossed with each other, against a real host and its workers.

Invariants: no exception but ours; no Python object, no text of the host, no secret in what a script sees or says;
the deadline is kept; the host still serves. What a mutated script claims of itself means nothing.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from random import Random

import lupa.lua54 as lua
import trio
from arena import PRELUDE, SECRET, Arena
from finding import Finding

from luahost import Limits

HERE = Path(__file__).resolve().parent
CASES = sorted((HERE.parent / "attacks" / "cases").glob("*.lua"))
WALL_S = 1.5
LIMITS = Limits(cpu_s=0.1, memory_bytes=16 << 20, wall_s=WALL_S)
LATE_S = 2 * LIMITS.cpu_s + 0.25
WALL_LATE_S = 2 * WALL_S + 0.25  # for what waits for the host
SIDE_BY_SIDE = 2

WALK = " ".join(line.partition("--")[0].strip() for line in (HERE / "walk.lua").read_text().splitlines())
TOKEN = re.compile(r"--[^\n]*|\[\[.*?\]\]|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|\w+|[^\w\s]|\s+", re.DOTALL)
NUMBERS = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "31",
    "64",
    "127",
    "200",
    "255",
    "256",
    "65536",
    "1e5",
    "1e6",
    "1 << 31",
    "1 << 53",
]
NUMBERS += [
    "1 << 62",
    "math.maxinteger",
    "math.mininteger",
    "1/0",
    "-1/0",
    "0/0",
    "1e308",
    "0.5",
    "'10'",
    "nil",
    "{}",
]
# Every name a script begins with, and what hangs on the libraries.
LIBRARIES = {
    "string": "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper",
    "table": "concat insert move pack remove sort unpack",
    "coroutine": "close create isyieldable resume running status wrap yield",
    "utf8": "char charpattern codepoint codes len offset",
    "math": "floor huge maxinteger random randomseed tointeger type ult",
    "os": "clock date difftime time",
    "orcs": "llm caps can json_parse json_encode null array log output sleep now all map race timeout grant spawn",
}
BASE = """_G _ENV assert collectgarbage error getmetatable ipairs load next pairs pcall print rawequal rawget rawlen rawset
require select setmetatable tonumber tostring type xpcall"""
NAMES = [
    *BASE.split(),
    *LIBRARIES,
    *(f"{lib}.{name}" for lib, names in LIBRARIES.items() for name in names.split()),
]
EVENTS = """index newindex call len eq lt le concat close pairs tostring name mode gc metatable unm idiv bnot"""
METAMETHODS = [f"__{event}" for event in EVENTS.split()]
WRAPS = [
    "pcall(function() {} end)",
    "xpcall(function() {} end, function(e) return e end)",
    "coroutine.wrap(function() {} end)()",
    "local ok, e = coroutine.resume(coroutine.create(function() {} end)) if not ok then error(e, 0) end",
    "for i = 1, 3 do pcall(function() {} end) end",
    "do local x <close> = setmetatable({{}}, {{__close = function() {} end}}) end",
    "local t = setmetatable({{}}, {{__index = function() {} end}}) local x = t.a",
    "table.sort({{3, 1, 2}}, function(a, b) {} end)",
    "string.gsub('abc', '.', function() {} end)",
    "load(function() {} end)",
    "print(setmetatable({{}}, {{__tostring = function() {} end}}))",
]


def mutate(rng: Random, text: str, other: str) -> str:
    """`text` with one to six changes, some of them pieces of `other`."""
    tokens = [token for token in TOKEN.findall(text) if not token.startswith("--")]
    donor = [token for token in TOKEN.findall(other) if not token.startswith("--")]
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(tokens))
        match rng.randrange(9):
            case 0:
                numbers = [i for i, token in enumerate(tokens) if token[0].isdigit()]
                if numbers:
                    tokens[rng.choice(numbers)] = f"({rng.choice(NUMBERS)})"
            case 1:
                words = [i for i, token in enumerate(tokens) if token[0].isalpha() and token in _REPLACEABLE]
                if words:
                    tokens[rng.choice(words)] = rng.choice(NAMES)
            case 2:
                words = [i for i, token in enumerate(tokens) if token.startswith("__")]
                if words:
                    tokens[rng.choice(words)] = rng.choice(METAMETHODS)
            case 3:
                del tokens[at : at + rng.randint(1, 4)]
            case 4:
                tokens[at:at] = tokens[at : at + rng.randint(1, 12)]
            case 5:
                begin = rng.randrange(len(donor))
                tokens[at:at] = donor[begin : begin + rng.randint(1, 30)]
            case 6:
                lines = "".join(tokens).splitlines(keepends=True)
                more = other.splitlines(keepends=True)
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(more))
                tokens = TOKEN.findall("".join(lines))
            case 7:
                swap = rng.randrange(len(tokens))
                tokens[at], tokens[swap] = tokens[swap], tokens[at]
            case _:
                tokens = TOKEN.findall(rng.choice(WRAPS).format("".join(tokens)))
        if not tokens:
            tokens = list(donor)
    return "".join(tokens)


_REPLACEABLE = {name.rpartition(".")[2] for name in NAMES} | {name.partition(".")[0] for name in NAMES}


def script(body: str) -> str:
    """Runs the body behind the walk, and walks over what it left and gave."""
    return f"{PRELUDE}{WALK} local function body(...) {body}\nend\nlocal r = pack(pcall(body))\nreturn walk(unpack(r, 1, r.n))"


def mutant(rng: Random, texts: list[str]) -> str:
    """A mutated attack, most often one that Lua's parser takes."""
    for _ in range(6):
        body = mutate(rng, rng.choice(texts), rng.choice(texts))
        if _compiles(script(body).encode("utf-8", "surrogateescape")):
            break
    return body


_compiles = lua.LuaRuntime(encoding=None).execute(b"return function(text) return load(text) ~= nil end")


async def judge(arena: Arena, body: str) -> None:
    """Runs the body; raises Finding when an invariant broke."""
    text = script(body)
    outcome = await arena.fight(text, "mutant.lua", LIMITS)
    if outcome.verdict == "CRASHED" and outcome.how != "process kill":
        raise Finding(f"not one of our errors: {outcome}", body)
    if outcome.verdict == "SAFE" and outcome.text != "'clean'":
        raise Finding(f"the walk did not end clean: {outcome}", body)
    if "FOUND" in outcome.text or SECRET in outcome.text:
        raise Finding(f"something of the host came out: {outcome}", body)
    waits = "orcs" in body or "require" in body
    late_s = WALL_LATE_S if waits else LATE_S
    if outcome.wall_s > late_s:
        again = await arena.fight(text, "mutant.lua", LIMITS)  # the machine may be busy for once
        if again.wall_s > late_s:
            raise Finding(f"late: {outcome}", body)


def afterwards(arena: Arena) -> None:
    """What has to hold of the host when all is over."""
    if arena.call(arena.two) != 2:
        raise Finding("the host no longer serves", "")
    if any(SECRET in said for said in arena.said):
        raise Finding("a secret was put out or audited", "")


async def _judge_all(arena: Arena, bodies: list[str]) -> None:
    gate = trio.CapacityLimiter(SIDE_BY_SIDE)

    async def behind(body: str) -> None:
        async with gate:
            await judge(arena, body)

    try:
        async with trio.open_nursery() as nursery:
            for body in bodies:
                nursery.start_soon(behind, body)
    except* Finding as group:
        raise _first(group) from None


def fuzz(rng: Random, deadline: float) -> int:
    executions = 0
    texts = [path.read_text() for path in CASES]
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder)) as arena:
        try:
            while not executions or time.monotonic() < deadline:
                bodies = [mutant(rng, texts) for _ in range(8)]
                arena.call(_judge_all, arena, bodies)
                executions += len(bodies)
            afterwards(arena)
        except Finding as finding:
            finding.executions = executions
            raise
    return executions


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
