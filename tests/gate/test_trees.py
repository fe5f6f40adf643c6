"""Trees of VMs under random attenuations, spawns, grants, revocations, expiries and calls, against a plain model.

What holds at every instant: a call is let through exactly if every link from its VM to the root would let it through;
no ancestor is then unable to do the same; no ledger is below zero, and each one's counts are its own calls' and those
of all below it. The model is written without the gate's code: sums over a tree, and sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luahost.errors import ConfigError
from luahost.gate.grants import Grant
from luahost.gate.holdings import Holdings
from luahost.gate.hosts import Origin
from luahost.gate.permits import LlmAction
from luahost.gate.policy import Refusal, decide, judge

MODELS = ["gpt-4o", "gpt-4", "llama"]
PATTERNS = [*MODELS, "gpt-4*", "*"]

constraints = st.fixed_dictionaries(
    {},
    optional={
        "models": st.lists(st.sampled_from(PATTERNS), max_size=3),
        "max_calls": st.integers(0, 4),
        "max_tokens": st.integers(0, 300),
        "max_concurrency": st.integers(0, 3),
        "expires_in_s": st.integers(1, 30),
    },
)


class Link:
    """One grant, in the model: its limits, and the calls made right under it."""

    def __init__(self, parent: Link | None, limits: dict[str, Any]) -> None:
        self.parent, self.limits = parent, limits
        self.below: list[Link] = []
        self.started: float | None = None
        self.revoked = False
        self.calls = self.tokens = self.running = 0
        self.reserved = 0  # tokens of the calls under way
        if parent is not None:
            parent.below.append(self)

    def chain(self) -> Iterator[Link]:
        link: Link | None = self
        while link is not None:
            yield link
            link = link.parent

    def total(self, name: str) -> int:
        return int(getattr(self, name)) + sum(each.total(name) for each in self.below)

    def allows(self, model: str, tokens: int, now: float) -> bool:
        most = self.limits
        if self.revoked:
            return False
        if "expires_in_s" in most and self.started is not None and now >= self.started + most["expires_in_s"]:
            return False
        if "models" in most and not any(fnmatchcase(model, pattern) for pattern in most["models"]):
            return False
        running = self.total("running")
        return (
            running < most.get("max_concurrency", 99)
            and self.total("calls") + running + 1 <= most.get("max_calls", 99)
            and self.total("tokens") + self.total("reserved") + tokens <= most.get("max_tokens", 10**6)
        )


class Vm:
    """A VM: the gate's real bookkeeping of grants, and the model's."""

    def __init__(self, parent: Vm | None) -> None:
        self.holdings = Holdings("vm", {})
        self.parent, self.children = parent, []  # type: ignore[var-annotated]
        self.link: Link | None = None  # of what it holds
        self.stem: Link | None = None  # what its children's are below
        if parent is not None:
            parent.children.append(self)

    @property
    def held(self) -> Grant | None:
        return self.holdings.grants.get("llm")

    def ancestors(self) -> Iterator[Vm]:
        vm = self.parent
        while vm is not None:
            yield vm
            vm = vm.parent


class Trees(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.vms: list[Vm] = [Vm(None)]
        self.links: dict[Grant, Link] = {}
        self.flights: list[tuple[Any, Link, int]] = []

    def vm(self, n: int) -> Vm:
        return self.vms[n % len(self.vms)]

    def put(self, vm: Vm, grant: Grant, link: Link) -> None:
        """Gives it, in both worlds."""
        vm.holdings.put(grant, self.now)
        self.end_stem(vm)
        vm.link = self.links[grant] = link
        for each in link.chain():
            if each.started is None:
                each.started = self.now

    def end(self, link: Link) -> None:
        link.revoked = True

    def end_stem(self, vm: Vm) -> None:
        if vm.stem is not None:
            self.end(vm.stem)
            vm.stem = None

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────

    @rule(limits=constraints)
    def the_operator_grants(self, limits: dict[str, Any]) -> None:
        self.put(self.vms[0], Grant.llm(**limits), Link(None, limits))

    @rule(n=st.integers(0, 20), limits=constraints, fresh=st.booleans())
    def a_parent_spawns_or_a_child_is_given_again(self, n: int, limits: dict[str, Any], fresh: bool) -> None:
        parent = self.vm(n)
        if not fresh and parent.children:
            child = parent.children[-1]
        elif len(self.vms) < 12:
            child = Vm(parent)
            self.vms.append(child)
        else:
            return
        try:
            grant = parent.holdings.delegate("llm", limits)
        except ConfigError as error:
            assert error.kind == "capability_widening"
            return  # it holds nothing
        assert parent.link is not None
        for link in parent.link.chain():  # what was accepted is narrower than every link above
            for name, value in limits.items():
                wider = link.limits.get(name)
                if name == "models" and wider is not None:
                    mine = {m for m in MODELS if any(fnmatchcase(m, p) for p in value)}
                    assert mine <= {m for m in MODELS if any(fnmatchcase(m, p) for p in wider)}
                elif wider is not None:
                    assert value <= wider
        if parent.stem is None:
            parent.stem = Link(parent.link, dict(parent.link.limits))
        assert parent.holdings.gave(grant)
        self.put(child, grant, Link(parent.stem, {**self.merged(parent.link), **limits}))

    @staticmethod
    def merged(link: Link) -> dict[str, Any]:
        """A narrower grant that does not say says what the one above does."""
        return dict(link.limits)

    @rule(n=st.integers(0, 20))
    def a_kind_is_revoked_from_a_vm(self, n: int) -> None:
        vm = self.vm(n)
        vm.holdings.take("llm")
        self.end_stem(vm)
        vm.link = None

    @precondition(lambda self: self.links)
    @rule(n=st.integers(0, 50))
    def a_grant_is_revoked(self, n: int) -> None:
        grant = list(self.links)[n % len(self.links)]
        grant.revoke("by the test")
        self.end(self.links[grant])

    @rule(seconds=st.integers(0, 12))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds

    @rule(n=st.integers(0, 20), model=st.sampled_from(MODELS), tokens=st.integers(0, 120))
    def a_vm_calls(self, n: int, model: str, tokens: int) -> None:
        vm = self.vm(n)
        grant, link = vm.held, vm.link
        assert (grant is None) == (link is None)
        if grant is None or link is None:
            return
        origin = Origin("https", "api.test", 443)
        action = LlmAction(provider="p", model=model, origin=origin, own_base_url=False, input_tokens=tokens)
        expected = all(each.allows(model, tokens, self.now) for each in link.chain())
        ancestors = [above.held for above in vm.ancestors()]
        could = [
            held is not None
            and judge(held, action, self.now) is None
            and all(each.ledger.shortage(action.asks, self.now) is None for each in held.chain())
            for held in ancestors
        ]
        answer = decide(grant, action, self.now)
        assert isinstance(answer, Refusal) != expected, f"{answer}, and the model says {expected}"
        if isinstance(answer, Refusal):
            return
        assert all(could), "a VM was let do what one above it could not"
        reservation = answer.reservation
        assert reservation is not None
        flight = (reservation, link, tokens)
        self.flights.append(flight)
        link.running += 1
        link.reserved += tokens
        reservation.on_cancel = lambda kind, why: self.close(flight, None)  # as the act does when it is cut

    @precondition(lambda self: self.flights)
    @rule(n=st.integers(0, 20), reached=st.booleans(), used=st.integers(0, 200))
    def a_call_ends(self, n: int, reached: bool, used: int) -> None:
        self.close(self.flights[n % len(self.flights)], used if reached else None)

    def close(self, flight: tuple[Any, Link, int], used: int | None) -> None:
        reservation, link, tokens = flight
        self.flights.remove(flight)
        link.running -= 1
        link.reserved -= tokens
        if used is None:
            reservation.release()
        else:
            reservation.settle(tokens=used)
            link.calls += 1
            link.tokens += used

    # ── what holds ──────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def ledgers_are_the_sums_of_what_is_below_them_and_never_below_zero(self) -> None:
        for grant, link in self.links.items():
            ledger = grant.ledger
            assert min(*ledger.used.values(), *ledger.reserved.values(), ledger.running) >= 0
            running = link.total("running")
            assert (ledger.used["calls"], ledger.running) == (link.total("calls"), running)
            assert (ledger.used["tokens"], ledger.reserved["tokens"]) == (
                link.total("tokens"),
                link.total("reserved"),
            )

    @invariant()
    def nothing_flies_under_what_was_revoked(self) -> None:
        for _, link, _ in self.flights:
            assert not any(each.revoked for each in link.chain())


Trees.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTrees = Trees.TestCase


# ── the cases of ACCEPTANCE 5.7 that are the gate's alone ───────────────────────────────────────────────


def call(grant: Grant, model: str = "gpt-4o", now_s: float = 0.0) -> str:
    """ok, or the refusal's kind."""
    origin = Origin("https", "api.test", 443)
    action = LlmAction(provider="p", model=model, origin=origin, own_base_url=False, input_tokens=10)
    answer = decide(grant, action, now_s)
    if isinstance(answer, Refusal):
        return answer.kind
    assert answer.reservation is not None
    answer.reservation.settle(tokens=10)
    return "ok"


def test_a_grandchild_is_narrowed_twice() -> None:
    root = Grant.llm(models=["gpt-4*", "llama"], max_calls=9)
    grandchild = root.attenuate(models=["gpt-4*"]).attenuate(models=["gpt-4o"], max_calls=1)
    assert [call(grandchild, "gpt-4"), call(grandchild, "llama"), call(grandchild)] == ["model_not_allowed"] * 2 + [
        "ok"
    ]
    assert call(grandchild) == "budget_exceeded"
    with pytest.raises(ConfigError, match="widened"):
        grandchild.attenuate(models=["gpt-4*"])


def test_an_empty_list_of_models_allows_nothing_and_globs_meet_names() -> None:
    assert call(Grant.llm().attenuate(models=[])) == "model_not_allowed"
    assert call(Grant.llm(models=["gpt-4*"]).attenuate(models=["gpt-4o"])) == "ok"
    assert call(Grant.llm(models=["gpt-4*"]).attenuate(models=["gpt-4o"]), "gpt-4-turbo") == "model_not_allowed"


def test_of_two_children_that_race_for_the_last_call_one_wins() -> None:
    root = Grant.llm(max_calls=1)
    origin = Origin("https", "api.test", 443)
    action = LlmAction(provider="p", model="m", origin=origin, own_base_url=False, input_tokens=1)
    first, second = (decide(root.attenuate(), action, 0.0) for _ in range(2))
    assert not isinstance(first, Refusal)
    assert isinstance(second, Refusal) and second.kind == "budget_exceeded"


def test_a_clock_that_is_set_back_revives_nothing() -> None:
    root = Grant.llm(expires_in_s=10)
    child = root.attenuate()
    child.given(100.0)
    assert (call(child, now_s=109.0), call(child, now_s=110.0)) == ("ok", "capability_expired")
    root.given(50.0)  # it had begun, and does not begin again
    assert call(child, now_s=110.0) == "capability_expired"


def test_what_a_grant_does_not_say_is_no_wider_for_the_one_below_it() -> None:
    for kind, said in (
        ("exec", {"shell": True}),
        ("exec", {"env": ["HOME"]}),
        ("exec", {"timeout_s": 61}),
        ("exec", {"max_output_bytes": 2 << 20}),
        ("http", {"allow_private": True}),
        ("http", {"max_redirects": 1}),
        ("http", {"timeout_s": 31}),
        ("http", {"max_response_bytes": 11 << 20}),
        ("spawn", {"max_children": 65}),
        ("spawn", {"max_tree": 257}),
        ("spawn", {"max_depth": 9}),
    ):
        with pytest.raises(ConfigError, match="widened") as caught:
            Grant(kind).attenuate(**said)
        assert caught.value.kind == "capability_widening"
        Grant(kind, **said).attenuate(**said)  # where it is said above, it may be said below
