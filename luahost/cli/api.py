"""What scripts find in `orcs`, read from lua/meta/api.toml: the one registry.

The stubs, the README's table and `luahost check` say what it says. Knows no VM and no host; tests/test_api.py holds
it to what they really have.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from luahost.errors import ConfigError
from luahost.vm.sources import root


class Parameter(NamedTuple):
    """One argument; `optional` ones may be left out."""

    name: str
    type: str
    optional: bool


class Member(NamedTuple):
    """One member of a class: its type as LuaLS writes it, and what it is ("" where the name says it)."""

    name: str
    type: str
    optional: bool
    says: str


class Function(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One function of orcs; `name` may be dotted, as in "llm_sessions.get".

    args, gives  as they stand in api.toml        needs   the kind of grant, "" for none
    also         further kinds that it needs      fails   kinds of error and groups of them
    raises       whether it raises instead of giving {ok=false}
    """

    says: str
    name: str = ""
    args: str = ""
    gives: str = ""
    needs: str = ""
    also: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    raises: bool = False

    @property
    def parameters(self) -> list[Parameter]:
        return [_parameter(text) for text in split(self.args)]

    @property
    def called(self) -> str:
        """As it is written down: read(path), llm(prompt, opts?)."""
        return f"{self.name}({', '.join(p.name + '?' * p.optional for p in self.parameters)})"


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name of orcs that is no function."""

    type: str
    needs: str
    says: str


class Api(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `groups`: heading → name → function. `classes`: name → member → its text, see members()."""

    fields: dict[str, Field]
    groups: dict[str, dict[str, Function]]
    classes: dict[str, dict[str, str]]
    fails: dict[str, tuple[str, ...]]
    kinds: dict[str, str]

    @property
    def functions(self) -> dict[str, Function]:
        return {name: function for group in self.groups.values() for name, function in group.items()}

    def members(self, name: str) -> list[Member]:
        """A class's own members, without those of the one it extends."""
        return [_member(key, text) for key, text in self.classes[name].items() if key != "extends"]

    def kinds_of(self, function: Function) -> tuple[str, ...]:
        """Every kind of error the function answers with, in order."""
        found: dict[str, None] = {}
        todo = [*function.fails, *(("gate",) if function.needs and not function.raises else ())]
        while todo:
            each = todo.pop(0)
            if each in self.fails and each not in found:
                todo = [*(kind for kind in self.fails[each] if kind != each), *todo]
                if each not in self.kinds:
                    continue
            found[each] = None
        return tuple(found)


def split(text: str, at: str = ",") -> list[str]:
    """The parts of a list of types, whose own commas stand in brackets."""
    parts, depth, begin = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{<") - (sign in ")]}>")
        if sign == at and depth == 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    return [*parts, text[begin:].strip()] if text.strip() else []


def _parameter(text: str) -> Parameter:
    match = re.fullmatch(r"(\w+|\.\.\.)(\??): (.+)", text)
    if match is None:
        raise ConfigError(f"api.toml: an argument like `name?: type` expected, got {text!r}")
    return Parameter(match[1], match[3], bool(match[2]))


def _member(name: str, text: str) -> Member:
    type_, _, says = text.partition(" -- ")
    return Member(name, type_.removesuffix("?"), type_.endswith("?"), says)


@cache
def api() -> Api:
    """The registry."""
    text = (Path(root()) / "meta/api.toml").read_text()
    made = msgspec.convert(tomllib.loads(text), Api)
    named = {
        heading: {name: msgspec.structs.replace(each, name=name) for name, each in group.items()}
        for heading, group in made.groups.items()
    }
    return msgspec.structs.replace(made, groups=named)


def needed(name: str) -> tuple[str, ...]:
    """The kinds of grant that orcs.NAME needs; () for none, and for a name that is not there."""
    found = api().functions.get(name)
    return () if found is None or not found.needs else (found.needs, *found.also)
