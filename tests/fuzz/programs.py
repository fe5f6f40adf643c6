"""Lua programs made by Hypothesis from a grammar over what a script can see, against a real host and its workers.

The same invariants as for mutated attacks (mutated.py). A program that breaks one is made smaller before it is shown.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random

from arena import Arena
from finding import Finding
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutated import METAMETHODS, NAMES, NUMBERS, afterwards, judge

LOCALS = [f"v{i}" for i in range(5)]
STRINGS = [
    "''",
    "'a'",
    "('a'):rep(3000)",
    "'%s%d%q'",
    "'(a*)%1'",
    "'[%w_]-x'",
    "'\\0\\255'",
    "'{\"a\":[1,null]}'",
    "'=?'",
    "'k'",
]
OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "^",
    "..",
    "==",
    "~=",
    "<",
    "<=",
    "and",
    "or",
    "&",
    "|",
    "~",
    "<<",
    ">>",
]

names = st.sampled_from(NAMES)
local_names = st.sampled_from(LOCALS)
atoms = st.sampled_from([*LOCALS, *NUMBERS, *STRINGS, "nil", "true", "...", "{}", "_G"]) | names


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(inner, max_size=4).map(", ".join)
    block = st.lists(_statements(inner), max_size=4).map(" ".join)
    return st.one_of(
        st.builds("(({}))({})".format, names, arguments),
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("({}({}))".format, st.sampled_from(["-", "#", "not ", "~"]), inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("{{{}, k = {}, [{}] = {}}}".format, inner, inner, atoms, inner),
        st.builds("(function(...) {} end)".format, block),
        st.builds("coroutine.wrap(function(...) {} return {} end)".format, block, inner),
        st.builds(
            "setmetatable({{{}}}, {{{} = {}, {} = {}}})".format, inner, *[st.sampled_from(METAMETHODS), inner] * 2
        ),
        st.builds("select(2, pcall({}, {}))".format, inner, inner),
        st.builds(
            "({}):{}({})".format, inner, st.sampled_from(["find", "gsub", "rep", "format", "match", "k"]), arguments
        ),
    )


def _statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{} = {}".format, local_names, inner),
        st.builds("pcall(function(...) _G[{}] = {} end)".format, inner, inner),
        st.builds("pcall(function(...) {}.k = {} end)".format, local_names, inner),
        st.builds("for k, v in pairs({}) do v0, v1 = k, v end".format, st.sampled_from(["_G", "{1, 2}", "orcs"])),
        st.builds("for i = 1, {} do v2 = {} end".format, st.sampled_from(["3", "100", "1e9"]), inner),
        st.builds("pcall(coroutine.yield, {})".format, inner),
        st.builds("pcall({}, {}, {})".format, names, inner, inner),
    )


expressions = st.recursive(atoms, _expressions, max_leaves=12)
programs = st.lists(_statements(expressions), min_size=1, max_size=8).map(
    lambda lines: (
        f"local {', '.join(LOCALS)} "
        + "\n".join(f"pcall(function(...) {line} end)" for line in lines)
        + f"\nreturn {', '.join(LOCALS)}"
    )
)


BATCH = 25  # programs of one Hypothesis run


def fuzz(rng: Random, deadline: float) -> int:
    executions = 0
    with tempfile.TemporaryDirectory() as folder, Arena(Path(folder)) as arena:

        @settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(programs)
        def throw(body: str) -> None:
            nonlocal executions
            executions += 1
            arena.call(judge, arena, body)

        try:
            while not executions or time.monotonic() < deadline:
                seed(rng.getrandbits(64))(throw)()
            afterwards(arena)
        except Finding as finding:
            finding.executions = executions
            raise
    return executions
