"""Grants as text and as values: they read back as written, and attenuation only ever narrows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luahost.errors import ConfigError
from luahost.gate.grants import Grant
from luahost.gate.hosts import Origin
from luahost.gate.permits import LlmAction, Permit
from luahost.gate.policy import decide, judge
from luahost.gate.sorts import matches

NAMES = ["gpt-4o", "gpt-4o-mini", "llama3.2", "claude", "m"]
GLOBS = [*NAMES, "*", "gpt-4*", "gpt-4o*", "*mini", "l*2", "c*", "**"]
HOSTS = ["a.test", "b.test:8443", "localhost:1234", "http://c.test", "https://a.test", "127.0.0.1", "[::1]:9"]
ORIGINS = [
    Origin("https", "a.test", 443),
    Origin("https", "b.test", 8443),
    Origin("http", "localhost", 1234),
    Origin("http", "c.test", 80),
    Origin("https", "c.test", 443),
    Origin("http", "127.0.0.1", 80),
]

constraints = st.fixed_dictionaries(
    {},
    optional={
        "models": st.lists(st.sampled_from(GLOBS), max_size=3),
        "providers": st.lists(st.sampled_from(GLOBS), max_size=3),
        "hosts": st.lists(st.sampled_from(HOSTS), max_size=3),
        "max_calls": st.integers(0, 5),
        "max_tokens": st.integers(0, 100),
        "max_output_tokens": st.integers(0, 100),
        "max_tokens_per_call": st.integers(0, 50),
        "max_cost_usd": st.sampled_from([0, 0.00001, 0.5, 12.25]),
        "max_tool_turns": st.integers(0, 3),
        "max_timeout_s": st.sampled_from([0.5, 60]),
        "rate": st.sampled_from(["1/s", "10/s", "60/m", "61/m", "500/h"]),
        "stream": st.booleans(),
        "tools": st.lists(st.sampled_from(["look", "look_*", "*", "cut"]), max_size=2),
        "extra": st.booleans() | st.lists(st.sampled_from(["seed", "X-*", "*"]), max_size=2),
        "max_concurrency": st.integers(0, 3),
        "expires_in_s": st.sampled_from([0.5, 1, 10.0, 60, 3600]),
    },
)
actions = st.builds(
    LlmAction,
    provider=st.sampled_from(NAMES),
    model=st.sampled_from(NAMES) | st.none(),
    origin=st.sampled_from(ORIGINS),
    own_base_url=st.booleans(),
    input_tokens=st.integers(0, 60),
    output_tokens=st.integers(0, 60),
    cost_microusd=st.none() | st.integers(0, 10_000_000),
    streams=st.booleans(),
    tools=st.lists(st.sampled_from(["look", "look_up", "cut"]), max_size=2).map(tuple),
    tool_turns=st.integers(0, 4),
    extra=st.lists(st.sampled_from(["seed", "X-A"]), max_size=2).map(tuple),
    costs=st.booleans(),
)


def action(**changes: Any) -> LlmAction:
    given = {
        "provider": "p",
        "model": "m",
        "origin": ORIGINS[0],
        "own_base_url": False,
        "input_tokens": 1,
        **changes,
    }
    return LlmAction(**given)


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────


@given(constraints)
def test_a_grant_s_text_reads_back_as_the_same_grant(given_: dict[str, Any]) -> None:
    grant = Grant.llm(**given_)
    again = Grant.parse(str(grant))
    assert again.constraints == grant.constraints
    assert str(again) == str(grant)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("llm", Grant.llm()),
        (" llm: ", Grant.llm()),
        ("llm:max_calls=5", Grant.llm(max_calls=5)),
        ("llm: models = gpt-4o* , llama3.2 ; max_calls=5;", Grant.llm(models=["gpt-4o*", "llama3.2"], max_calls=5)),
        ("llm:models=", Grant.llm(models=[])),
        ("llm:hosts=localhost:8080,https://a.test", Grant.llm(hosts=["localhost:8080", "https://a.test"])),
        ("llm:expires_in_s=1.5", Grant.llm(expires_in_s=1.5)),
        ("llm:max_cost_usd=0.50", Grant.llm(max_cost_usd=0.5)),
        ("llm:rate=60/m;stream=false", Grant.llm(rate="60/m", stream=False)),
        ("llm:extra=true", Grant.llm(extra=True)),
        ("llm:tools=look_*", Grant.llm(tools=["look_*"])),
    ],
)
def test_grant_text_is_read(text: str, same_as: Grant) -> None:
    assert Grant.parse(text).constraints == same_as.constraints


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected"),
        ("lm", "did you mean 'llm'"),
        ("llm:max_cals=5", "did you mean 'max_calls'"),
        ("llm:max_calls", "name=value expected"),
        ("llm:max_calls=", "whole number"),
        ("llm:max_calls=-1", "whole number"),
        ("llm:max_calls=1.5", "whole number"),
        ("llm:max_calls=9007199254740992", "whole number"),
        ("llm:max_calls=1;max_calls=2", "given twice"),
        ("llm:expires_in_s=0", "seconds above 0"),
        ("llm:expires_in_s=nan", "seconds above 0"),
        ("llm:expires_in_s=inf", "seconds above 0"),
        ("llm:hosts=http://u:p@a.test", "user name"),
        ("llm:hosts=a.test/path", "without a path"),
        ("llm:hosts=a b", "expected"),
        ("llm:max_cost_usd=nan", "US dollars"),
        ("llm:max_cost_usd=-1", "US dollars"),
        ("llm:rate=10", "10/s"),
        ("llm:rate=0/s", "10/s"),
        ("llm:stream=yes", "true or false"),
    ],
)
def test_wrong_grant_text_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Grant.parse(text)
    assert words in error.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": "gpt"},
        {"models": [1]},
        {"models": [""]},
        {"max_calls": True},
        {"max_calls": "5"},
        {"x": 1},
        {"expires_in_s": "1"},
    ],
)
def test_wrong_constraints_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Grant("llm", **wrong)


def test_a_grant_is_frozen() -> None:
    grant = Grant.llm(max_calls=1)
    for name in ("constraints", "kind", "ledger", "parent", "anything"):
        with pytest.raises(AttributeError):
            setattr(grant, name, None)
    with pytest.raises(AttributeError):
        grant.constraints.max_calls = 9  # type: ignore[misc]


# ── attenuation ─────────────────────────────────────────────────────────────────────────────────────────


@given(constraints, constraints, actions)
def test_attenuation_only_narrows(mine: dict[str, Any], theirs: dict[str, Any], act: LlmAction) -> None:
    parent = Grant.llm(**mine)
    try:
        child = parent.attenuate(**theirs)
    except ConfigError as error:
        assert error.kind == "capability_widening" and isinstance(error, ValueError)
        return
    now = 100.0
    child.given(now)
    permit = decide(child, act, now)
    if isinstance(permit, Permit):
        used_up = parent.ledger.max_concurrency or parent.ledger.caps or parent.ledger.bucket
        assert isinstance(decide(parent, act, now), Permit) or used_up
        assert judge(parent, act, now) is None


def test_a_list_of_hosts_below_a_grant_without_one_does_not_admit_a_host_of_the_scripts_own() -> None:
    origin = Origin("https", "a.test", 443)
    own = LlmAction(provider="ollama", model="m", origin=origin, own_base_url=True)
    for grant, admits in (
        (Grant.llm(), False),
        (Grant.llm().attenuate(hosts=["a.test"]), False),
        (Grant.llm().attenuate(hosts=["a.test"]).attenuate(), False),
        (Grant.llm(hosts=["a.test"]), True),
        (Grant.llm(hosts=["a.test"]).attenuate(max_calls=1), True),
        (Grant.llm(hosts=["a.test", "b.test"]).attenuate().attenuate(hosts=["a.test"]), True),
    ):
        grant.given(0.0)
        assert isinstance(decide(grant, own, 0.0), Permit) == admits, grant


@given(st.lists(constraints, min_size=1, max_size=4), actions)
def test_nobody_below_may_do_what_an_ancestor_may_not(steps: list[dict[str, Any]], act: LlmAction) -> None:
    grants = [Grant.llm()]
    for step in steps:
        try:
            grants.append(grants[-1].attenuate(**step))
        except ConfigError:
            continue
    leaf = grants[-1]
    leaf.given(0.0)
    allowed = [judge(grant, act, 0.0) is None for grant in grants]
    if allowed[-1]:
        assert (
            all(allowed[1:]) or act.own_base_url
        )  # a host of one's own needs a list of hosts, which only some have


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"max_calls": 5}, {"max_calls": 6}),
        ({"models": ["gpt-4*"]}, {"models": ["gpt-*"]}),
        ({"models": ["gpt-4*"]}, {"models": ["*"]}),
        ({"models": ["gpt-4o"]}, {"models": ["gpt-4o", "other"]}),
        ({"models": []}, {"models": ["m"]}),
        ({"models": ["a*b"]}, {"models": ["a*"]}),
        ({"hosts": ["a.test"]}, {"hosts": ["b.test"]}),
        ({"hosts": ["a.test"]}, {"hosts": ["http://a.test"]}),
        ({"hosts": ["a.test"]}, {"hosts": ["a.test:444"]}),
        ({"hosts": []}, {"hosts": ["a.test"]}),
        ({"expires_in_s": 1}, {"expires_in_s": 2}),
        ({"max_concurrency": 1}, {"max_concurrency": 2}),
        ({"max_tokens": 10}, {"max_tokens": 11}),
        ({"max_cost_usd": 0.5}, {"max_cost_usd": 0.51}),
        ({"rate": "10/s"}, {"rate": "11/s"}),
        ({"rate": "10/s"}, {"rate": "20/m"}),
        ({"rate": "60/m"}, {"rate": "1000/h"}),
        ({"tools": ["look_*"]}, {"tools": ["look*"]}),
        ({"stream": False}, {"stream": True}),
        ({"extra": ["seed"]}, {"extra": True}),
        ({"max_timeout_s": 5}, {"max_timeout_s": 6}),
    ],
)
def test_widening_is_refused(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be widened") as error:
        Grant.llm(**mine).attenuate(**theirs)
    assert error.value.kind == "capability_widening"  # type: ignore[attr-defined]


def test_an_empty_list_allows_nothing() -> None:
    for name in ("models", "providers", "hosts"):
        grant = Grant.llm(**{name: []})
        assert judge(grant, action(), 0.0) is not None


def test_a_child_without_a_word_about_it_keeps_its_parent_s_constraint() -> None:
    child = Grant.llm(models=["a"], max_calls=1).attenuate().attenuate(max_tokens=10)
    assert judge(child, action(model="b"), 0.0).rule == "models"  # type: ignore[union-attr]
    assert child.remaining() == {"calls": 1, "tokens": 10}


@pytest.mark.parametrize(
    ("pattern", "name", "matched"),
    [
        ("a*c", "abc", True),
        ("a*c", "a\nc", True),
        ("a.c", "abc", False),
        ("a[b]", "ab", False),
        ("A", "a", False),
        ("a", "a\n", False),
        ("*", "", True),
        ("a?", "ab", False),
    ],
)
def test_only_the_star_is_special(pattern: str, name: str, matched: bool) -> None:
    assert matches((pattern,), name) is matched
