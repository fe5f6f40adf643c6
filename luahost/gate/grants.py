"""Grants: what the operator allows a script, as frozen values.

    Grant.llm(models=["gpt-4o*"], max_calls=5)        Python
    llm:models=gpt-4o*,llama3.2;max_calls=5           the same as text: command line, configuration file

A constraint that is absent does not constrain. attenuate() makes a narrower grant below this one, sharing its
budget: a call is counted on the whole chain, and the limit nearest zero decides. Widening raises. Every grant
has one Ledger; giving the same grant to two VMs gives them one budget.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate.constraints import ABSENT, DEFAULT_CAPS, DEFAULT_CONCURRENCY, KINDS, Constraints
from luahost.gate.ledger import DIMENSIONS, Ledger, kept
from luahost.gate.sorts import SORTS, check, shown
from luahost.gate.sorts import rate as rate_of
from luahost.values import nearest

_ids = itertools.count(1)


class Grant:
    """A frozen permission of one kind. Equal to itself only: its ledger is part of it."""

    __slots__ = ("constraints", "id", "kind", "ledger", "parent")

    kind: str
    constraints: Constraints
    parent: Grant | None
    ledger: Ledger
    id: str

    def __init__(self, kind: str, *, parent: Grant | None = None, **constraints: Any) -> None:
        if kind not in KINDS:
            raise ConfigError(f"grant: one of {', '.join(KINDS)} expected, got {kind!r}{nearest(kind, KINDS)}")
        checked = _checked(kind, constraints)
        caps = {name: getattr(checked, f"max_{name}") for name in DIMENSIONS if hasattr(checked, f"max_{name}")}
        said = {name: kept(name, cap) for name, cap in caps.items() if cap is not None}
        default = DEFAULT_CAPS.get(kind, {}) if parent is None else {}
        rate = None if checked.rate is None else rate_of(checked.rate)
        at_once = checked.max_concurrency
        if at_once is None and parent is None:
            at_once = DEFAULT_CONCURRENCY.get(kind)
        ledger = Ledger({**default, **said}, at_once, tuple(caps), rate)
        put = object.__setattr__
        put(self, "kind", kind)
        put(self, "constraints", checked)
        put(self, "parent", parent)
        put(self, "ledger", ledger)
        put(self, "id", f"g{next(_ids)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Grant is frozen; attenuate() makes a narrower one ({name} not set)")

    @classmethod
    def llm(cls, **constraints: Any) -> Grant:
        """The language model. The constraints are LlmConstraints' fields; ConfigError for a wrong one."""
        return cls("llm", **constraints)

    @classmethod
    def spawn(cls, **constraints: Any) -> Grant:
        """Children. The constraints are SpawnConstraints' fields; ConfigError for a wrong one."""
        return cls("spawn", **constraints)

    @classmethod
    def parse(cls, text: str) -> Grant:
        """Grant text: `kind` or `kind:name=value;name=value,value`. ConfigError names what is wrong."""
        kind, _, rest = text.strip().partition(":")
        fields = KINDS[kind].__struct_fields__ if kind in KINDS else ()
        constraints: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in rest.split(";"))):
            name, equals, value = part.partition("=")
            name = name.strip()
            if not equals:
                raise ConfigError(f"grant {text!r}: name=value expected, got {part!r}")
            if kind in KINDS and name not in fields:
                raise ConfigError(
                    f"grant {text!r}: unknown constraint {name!r}{nearest(name, fields)}; "
                    f"{kind} takes {', '.join(fields)}"
                )
            if name in constraints:
                raise ConfigError(f"grant {text!r}: {name} is given twice; separate its values with commas")
            constraints[name] = SORTS[name].read(value.strip()) if name in SORTS else value.strip()
        return cls(kind, **constraints)

    def attenuate(self, **constraints: Any) -> Grant:
        """A narrower grant below this one; ValueError (ConfigError) when any constraint would widen it.

        What is not named is as it is here, so that a grant says by itself all that it allows.
        """
        mine = msgspec.structs.asdict(self.constraints)
        checked = _checked(self.kind, constraints)
        for name, value in msgspec.structs.asdict(checked).items():
            wider = mine[name] if mine[name] is not None else ABSENT.get(self.kind, {}).get(name)
            if value is not None and wider is not None and not SORTS[name].narrows(value, wider):
                raise ConfigError(
                    f"{name}: cannot be widened from {shown(wider) or 'nothing'} to {shown(value)}",
                    kind="capability_widening",
                )
        given = {name: value for name, value in msgspec.structs.asdict(checked).items() if value is not None}
        return Grant(self.kind, parent=self, **(mine | given))

    def revoke(self, reason: str = "revoked by the operator") -> None:
        """Ends this grant and every one below it, for good; calls under way are cancelled."""
        if self.ledger.revoked is None:
            self.ledger.revoked = reason
        for flight in list(self.ledger.flights):
            flight.on_cancel("capability_revoked", reason)

    def usage(self) -> dict[str, int | float]:
        """What has been used: calls, tokens, dollars as cost_usd, and calls running now."""
        return self.ledger.usage()

    def remaining(self) -> dict[str, int | float]:
        """What is left of each capped amount, by this grant and those above it."""
        left: dict[str, int | float] = {}
        for grant in self.chain():
            for name, value in grant.ledger.remaining().items():
                left[name] = min(left.get(name, value), value)
        return left

    def chain(self) -> list[Grant]:
        """This grant, its parent, and so on up."""
        chain = []
        grant: Grant | None = self
        while grant is not None:
            chain.append(grant)
            grant = grant.parent
        return chain

    def said(self, constraint: str) -> list[Any]:
        """What it and those above it say of a constraint, its own first; those that say nothing are left out."""
        values = (getattr(grant.constraints, constraint) for grant in self.chain())
        return [value for value in values if value is not None]

    def operators(self, constraint: str) -> Any:
        """What the operator's own grant, at the top of the chain, says of a constraint; None when nothing."""
        return getattr(self.chain()[-1].constraints, constraint)

    def expires_at_s(self) -> float | None:
        """Monotonic seconds at which the first of the chain expires; None if none does."""
        times = [
            grant.ledger.started_s + grant.constraints.expires_in_s
            for grant in self.chain()
            if grant.constraints.expires_in_s is not None and grant.ledger.started_s is not None
        ]
        return min(times, default=None)

    @property
    def is_revoked(self) -> bool:
        """Whether it, or one above it, has been."""
        return any(grant.ledger.revoked is not None for grant in self.chain())

    def given(self, now_s: float) -> None:
        """The grant reached a VM: its time begins, if it had not."""
        for grant in self.chain():
            if grant.ledger.started_s is None:
                grant.ledger.started_s = now_s

    def __str__(self) -> str:
        parts = [
            f"{name}={shown(value)}"
            for name, value in msgspec.structs.asdict(self.constraints).items()
            if value is not None
        ]
        return f"{self.kind}:{';'.join(parts)}" if parts else self.kind

    def __repr__(self) -> str:
        return f"<Grant {self}>"


def _checked(kind: str, constraints: dict[str, Any]) -> Constraints:
    fields = KINDS[kind].__struct_fields__
    given: dict[str, Any] = {}
    for name, value in constraints.items():
        if name not in fields:
            raise ConfigError(f"grant {kind}: unknown constraint {name!r}{nearest(name, fields)}")
        if value is not None:
            given[name] = check(kind, name, value)
    return KINDS[kind](**given)
