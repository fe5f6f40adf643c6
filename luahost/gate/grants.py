"""Grants: what the operator allows a script, as frozen values.

    Grant.llm(models=["gpt-4o*"], max_calls=5)        Python
    llm:models=gpt-4o*,llama3.2;max_calls=5           the same as text: command line, configuration file

A constraint that is absent does not constrain. attenuate() makes a narrower grant below this one, sharing its
budget: a call is counted on the whole chain, and the limit nearest zero decides. Widening raises. Every grant
has one Ledger; giving the same grant to two VMs gives them one budget.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate.hosts import origins
from luahost.gate.ledger import Ledger, Limit
from luahost.values import nearest

_ids = itertools.count(1)


class LlmConstraints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `llm` may be narrowed to.

    models, providers   names; `*` stands for any text. An empty list allows nothing
    hosts               the only hosts a call may go to, `host[:port]`; https, or http on loopback. A script's own
                        base_url is accepted only if it is listed here. Absent: the providers' own hosts
    max_calls           calls in all
    max_tokens          tokens in all, prompts and answers together
    max_concurrency     calls under way at the same time
    expires_in_s        seconds from when the grant is first given to a VM
    """

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    max_concurrency: int | None = None
    expires_in_s: float | None = None


KINDS: dict[str, type[LlmConstraints]] = {"llm": LlmConstraints}
"""Every kind of grant and its constraints."""

LUA_NAMES: dict[str, str] = {"llm": "llm", "llm_ping": "llm"}
"""orcs.NAME → the kind it needs, for `luahost check`; here and not in syscalls, which brings the world with it."""

GLOBBED = ("models", "providers")


class Grant:
    """A frozen permission of one kind. Equal to itself only: its ledger is part of it."""

    __slots__ = ("constraints", "id", "kind", "ledger", "parent")

    kind: str
    constraints: LlmConstraints
    parent: Grant | None
    ledger: Ledger
    id: str

    def __init__(self, kind: str, *, parent: Grant | None = None, **constraints: Any) -> None:
        if kind not in KINDS:
            raise ConfigError(f"grant: one of {', '.join(KINDS)} expected, got {kind!r}{nearest(kind, KINDS)}")
        checked = _check(kind, constraints)
        put = object.__setattr__
        put(self, "kind", kind)
        put(self, "constraints", checked)
        put(self, "parent", parent)
        put(self, "ledger", Ledger(Limit(checked.max_calls, checked.max_tokens, checked.max_concurrency)))
        put(self, "id", f"g{next(_ids)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Grant is frozen; attenuate() makes a narrower one ({name} not set)")

    @classmethod
    def llm(
        cls,
        *,
        models: list[str] | tuple[str, ...] | None = None,
        providers: list[str] | tuple[str, ...] | None = None,
        hosts: list[str] | tuple[str, ...] | None = None,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_concurrency: int | None = None,
        expires_in_s: float | None = None,
    ) -> Grant:
        """The language model. The constraints are LlmConstraints'; ConfigError for a wrong one."""
        return cls(
            "llm",
            models=models,
            providers=providers,
            hosts=hosts,
            max_calls=max_calls,
            max_tokens=max_tokens,
            max_concurrency=max_concurrency,
            expires_in_s=expires_in_s,
        )

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
            constraints[name] = _from_text(name, value.strip())
        return cls(kind, **constraints)

    def attenuate(self, **constraints: Any) -> Grant:
        """A narrower grant below this one; ValueError (ConfigError) when any constraint would widen it."""
        mine = msgspec.structs.asdict(self.constraints)
        checked = _check(self.kind, constraints)
        for name, value in msgspec.structs.asdict(checked).items():
            if value is not None and mine[name] is not None and not _narrows(name, value, mine[name]):
                raise ConfigError(
                    f"{name}: cannot be widened from {_shown(mine[name])} to {_shown(value)}",
                    kind="capability_widening",
                )
        return Grant(self.kind, parent=self, **msgspec.structs.asdict(checked))

    def revoke(self, reason: str = "revoked by the operator") -> None:
        """Ends this grant and every one below it, for good; calls under way are cancelled."""
        if self.ledger.revoked is None:
            self.ledger.revoked = reason
        for flight in list(self.ledger.flights):
            flight.on_cancel("capability_revoked", reason)

    def usage(self) -> dict[str, int]:
        """What has been used: calls, tokens, and calls running now."""
        return self.ledger.usage()

    def remaining(self) -> dict[str, int]:
        """What is left of each capped amount, by this grant and those above it."""
        left: dict[str, int] = {}
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

    def expires_at_s(self) -> float | None:
        """Monotonic seconds at which the first of the chain expires; None if none does."""
        times = [
            grant.ledger.started_s + grant.constraints.expires_in_s
            for grant in self.chain()
            if grant.constraints.expires_in_s is not None and grant.ledger.started_s is not None
        ]
        return min(times, default=None)

    def given(self, now_s: float) -> None:
        """The grant reached a VM: its time begins, if it had not."""
        for grant in self.chain():
            if grant.ledger.started_s is None:
                grant.ledger.started_s = now_s

    def __str__(self) -> str:
        parts = [
            f"{name}={_shown(value)}"
            for name, value in msgspec.structs.asdict(self.constraints).items()
            if value is not None
        ]
        return f"{self.kind}:{';'.join(parts)}" if parts else self.kind

    def __repr__(self) -> str:
        return f"<Grant {self}>"


@functools.lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the patterns, in which `*` stands for any text, is this whole name."""
    return any(_glob(pattern).fullmatch(name) for pattern in patterns)


def _narrows(name: str, value: Any, mine: Any) -> bool:
    if name in GLOBBED:
        # A `*` in the narrower pattern is only matched by a `*` in the wider one: text stands for text.
        return all(matches(mine, pattern) for pattern in value)
    if name == "hosts":
        allowed = {origin for entry in mine for origin in origins(entry)}
        return all(origin in allowed for entry in value for origin in origins(entry))
    return bool(value <= mine)


def _check(kind: str, constraints: dict[str, Any]) -> LlmConstraints:
    fields = KINDS[kind].__struct_fields__
    given: dict[str, Any] = {}
    for name, wanted in constraints.items():
        value = wanted
        if name not in fields:
            raise ConfigError(f"grant {kind}: unknown constraint {name!r}{nearest(name, fields)}")
        if value is None:
            continue
        if name in ("models", "providers", "hosts"):
            if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
                raise ConfigError(f"grant {kind}: {name}: a list of texts expected, got {value!r}")
            value = tuple(value)
            if not all(isinstance(entry, str) and entry for entry in value):
                raise ConfigError(f"grant {kind}: {name}: a list of texts expected, got {value!r}")
            if name == "hosts":
                for entry in value:
                    origins(entry)
        elif name == "expires_in_s":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
                raise ConfigError(f"grant {kind}: {name}: seconds above 0 expected, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
            raise ConfigError(f"grant {kind}: {name}: a whole number from 0 on expected, got {value!r}")
        given[name] = value
    return KINDS[kind](**given)


def _from_text(name: str, value: str) -> Any:
    if name in ("models", "providers", "hosts"):
        return [entry.strip() for entry in value.split(",") if entry.strip()]
    try:
        return float(value) if name == "expires_in_s" else int(value)
    except ValueError:
        return value  # _check says what was wanted


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
