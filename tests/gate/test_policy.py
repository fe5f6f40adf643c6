"""The decision: each refusal names its rule and the grant that would allow it; a permit comes from the gate alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from test_grants import ORIGINS, action

from luahost.gate import permits
from luahost.gate.grants import Grant
from luahost.gate.ledger import Reservation
from luahost.gate.permits import Permit
from luahost.gate.policy import Refusal, decide, judge, no_grant


def refused(grant: Grant, now_s: float = 0.0, **changes: Any) -> Refusal:
    refusal = decide(grant, action(**changes), now_s)
    assert isinstance(refusal, Refusal), "it was allowed"
    assert refusal.message.startswith("llm") and "\n" not in refusal.message
    return refusal


@pytest.mark.parametrize(
    ("constraints", "changes", "kind", "rule", "would_allow"),
    [
        ({"models": ["gpt*"]}, {"model": "x"}, "model_not_allowed", "models", "llm:models=x"),
        ({"models": []}, {"model": "x"}, "model_not_allowed", "models", "llm:models=x"),
        ({"providers": ["openai"]}, {"provider": "x"}, "permission_denied", "providers", "llm:providers=x"),
        ({"hosts": ["b.test"]}, {}, "host_not_allowed", "hosts", "llm:hosts=https://a.test"),
        ({}, {"own_base_url": True}, "host_not_allowed", "hosts", "llm:hosts=a.test"),
        ({"max_calls": 0}, {}, "budget_exceeded", "max_calls", "llm:max_calls=1"),
        ({"max_tokens": 5}, {"input_tokens": 6}, "budget_exceeded", "max_tokens", "llm:max_tokens=6"),
        ({"max_concurrency": 0}, {}, "concurrency_limit", "max_concurrency", ""),
    ],
)
def test_a_refusal_names_its_rule_and_the_grant_that_would_allow_it(
    constraints: dict[str, Any], changes: dict[str, Any], kind: str, rule: str, would_allow: str
) -> None:
    refusal = refused(Grant.llm(**constraints), **changes)
    assert (refusal.kind, refusal.rule) == (kind, rule)
    if would_allow:
        assert refusal.grant == would_allow
        assert isinstance(decide(Grant.parse(refusal.grant), action(**changes), 0.0), Permit)


def test_without_a_grant_the_refusal_says_which_would_do() -> None:
    refusal = no_grant("llm")
    assert (refusal.kind, refusal.rule, refusal.grant) == ("permission_denied", "no_grant", "llm")
    assert isinstance(decide(Grant.parse(refusal.grant), action(), 0.0), Permit)


def test_a_base_url_of_the_script_s_own_needs_a_grant_that_lists_its_host() -> None:
    own = {"own_base_url": True, "origin": ORIGINS[2]}
    assert refused(Grant.llm(), **own).rule == "hosts"
    assert isinstance(decide(Grant.llm(hosts=["localhost:1234"]), action(**own), 0.0), Permit)
    assert isinstance(decide(Grant.llm(hosts=["localhost:1234"]).attenuate(), action(**own), 0.0), Permit)
    assert refused(Grant.llm(hosts=["localhost:1235"]), **own).rule == "hosts"


def test_long_and_odd_names_are_shown_short_and_on_one_line() -> None:
    refusal = refused(Grant.llm(models=["a"]), model="x\n\x1b[2J" + "y" * 10_000)
    assert len(refusal.message) < 600 and "\x1b" not in refusal.message


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_expires_on_the_monotonic_clock_from_when_it_was_first_given() -> None:
    grant = Grant.llm(expires_in_s=10)
    assert isinstance(decide(grant, action(), 1e9), Permit), "its time has not begun"
    grant.given(100.0)
    grant.given(105.0)  # a second VM does not give it new time
    assert isinstance(decide(grant, action(), 109.999), Permit)
    assert refused(grant, 110.0).kind == "capability_expired"
    assert grant.expires_at_s() == 110.0


def test_a_child_expires_with_the_first_of_its_ancestors_and_is_not_revived() -> None:
    parent = Grant.llm(expires_in_s=10)
    parent.given(0.0)
    child = parent.attenuate(expires_in_s=9)
    child.given(5.0)
    assert child.expires_at_s() == 10.0
    late = parent.attenuate()
    late.given(11.0)
    assert refused(late, 11.0).rule == "expires_in_s"


# ── revocation ──────────────────────────────────────────────────────────────────────────────────────────


def test_revoking_ends_everything_below_and_cancels_what_is_under_way() -> None:
    parent = Grant.llm(max_calls=10)
    child = parent.attenuate(max_calls=5).attenuate()
    permit = decide(child, action(), 0.0)
    assert isinstance(permit, Permit) and permit.reservation is not None
    heard: list[tuple[str, str]] = []
    permit.reservation.on_cancel = lambda kind, why: heard.append((kind, why))
    parent.revoke("enough")
    assert heard == [("capability_revoked", "enough")]
    assert refused(child).kind == "capability_revoked" and "enough" in refused(child).message
    parent.revoke("again")
    assert "enough" in refused(parent).message, "the first reason stays"


def test_revoking_a_child_leaves_its_parent_and_its_siblings() -> None:
    parent = Grant.llm()
    one, two = parent.attenuate(), parent.attenuate()
    one.revoke()
    assert refused(one).rule == "revoked"
    assert isinstance(decide(parent, action(), 0.0), Permit) and isinstance(decide(two, action(), 0.0), Permit)


# ── budgets and permits ─────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_takes_nothing_from_the_budget_and_a_ping_costs_nothing() -> None:
    grant = Grant.llm(models=["m"], max_calls=1)
    for _ in range(3):
        refused(grant, model="x")
        assert isinstance(decide(grant, action(model=None, costs=False), 0.0), Permit)
        assert judge(grant, action(), 0.0) is None
    assert grant.usage() == {"calls": 0, "tokens": 0, "running": 0}
    permit = decide(grant, action(), 0.0)
    assert isinstance(permit, Permit) and isinstance(permit.reservation, Reservation)
    assert refused(grant).rule == "max_calls"


def test_a_call_is_counted_on_the_whole_chain() -> None:
    parent = Grant.llm(max_calls=3)
    children = [parent.attenuate(max_calls=2) for _ in range(2)]
    made = [isinstance(decide(child, action(), 0.0), Permit) for child in children for _ in range(2)]
    assert made == [True, True, True, False]
    assert parent.usage()["calls"] == 3 and children[1].remaining() == {"calls": 0}


@pytest.mark.parametrize("seal", [None, object(), True, "seal", permits.Permit])
def test_a_permit_cannot_be_made_without_the_gate(seal: object) -> None:
    with pytest.raises(TypeError, match="only the gate"):
        Permit(seal, Grant.llm(), action(), None)


def test_a_permit_takes_no_further_attributes() -> None:
    permit = decide(Grant.llm(), action(), 0.0)
    assert isinstance(permit, Permit)
    with pytest.raises(AttributeError):
        permit.anything = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        permit.action.model = "other"  # type: ignore[misc]
    assert copy.copy(permit.action) == permit.action
