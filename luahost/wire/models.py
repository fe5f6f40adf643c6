"""Which model takes what: the facts of models.toml, looked up by a model's name.

The idea: a wire asks for facts and never looks at a model's name itself. The table ships with luahost and ages
within weeks (C4), so a configuration can lay rows of its own over it: those say only what is different, and the
first one that matches counts before the shipped row does.

Knows no wire and no options: what follows from a fact is the wire's. Reads one file, its own, once.
Sources: LLM_WIRE.md W15 to W20, I14, C3, C4.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from luahost.errors import ConfigError

Row = dict[str, Any]
"""A row as it stands in the file: its `pattern`, and the facts it says."""

_EFFORT = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 10_000, "high": 32_000, "xhigh": 100_000}


class Claude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model on the Anthropic wire takes. The defaults are those of a server nobody knows anything about.

    max_output     tokens of an answer, thinking included; None: not known
    sampling       of temperature and top_p: both, one at a time, or none (a 400)
    thinking       how it is asked for: with a budget of tokens, adaptive (by effort), either, or not at all
    off            how it is asked not to think: by saying nothing, a word, or it always thinks
    show_thinking  it hides its thinking unless asked to show it
    effort         level of Options.thinking -> the word of output_config.effort; for adaptive thinking
    budgets        level of Options.thinking -> tokens
    forced_tools   a tool_choice of `required` or of one tool is taken
    schema         output_config.format is taken
    system_turns   a turn of role system may stand behind a user's
    """

    max_output: int | None = None
    sampling: Literal["both", "one", "none"] = "both"
    thinking: Literal["budget", "adaptive", "either", "none"] = "budget"
    off: Literal["omit", "disabled", "between_tools", "refused"] = "omit"
    show_thinking: bool = False
    effort: dict[str, str] = msgspec.field(default_factory=_EFFORT.copy)
    budgets: dict[str, int] = msgspec.field(default_factory=_BUDGETS.copy)
    forced_tools: bool = True
    schema: bool = False
    system_turns: bool = False


_F = TypeVar("_F", bound=msgspec.Struct)


class Table(Generic[_F]):
    """The rows of one wire; `over` are laid over them. A row that cannot be is a ConfigError naming it."""

    def __init__(self, kind: type[_F], rows: Sequence[Row], over: Sequence[Row] = ()) -> None:
        self._kind = kind
        self._rows = [_read(kind, row) for row in rows]
        self._over = [_read(kind, row) for row in over]
        self.facts = lru_cache(maxsize=256)(self._facts)  # bounded: scripts choose the names

    def _facts(self, model: str) -> _F:
        return msgspec.convert(_first(self._rows, model) | _first(self._over, model), self._kind)


def _read(kind: type[msgspec.Struct], row: Row) -> tuple[re.Pattern[str], Row]:
    facts = dict(row)
    pattern = facts.pop("pattern", None)
    try:
        if not isinstance(pattern, str):
            raise TypeError("a pattern expected")
        msgspec.convert(facts, kind)
        return re.compile(pattern, re.IGNORECASE), facts
    except (TypeError, re.error, msgspec.ValidationError) as error:
        raise ConfigError(f"models, row {pattern!r}: {error}") from None


def _first(rows: list[tuple[re.Pattern[str], Row]], model: str) -> Row:
    return next((facts for pattern, facts in rows if pattern.fullmatch(model)), {})


@cache
def shipped() -> dict[str, list[Row]]:
    """models.toml: wire -> rows."""
    return tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))


def claude(over: Sequence[Row] = ()) -> Table[Claude]:
    """The table of the Anthropic wire."""
    return Table(Claude, shipped()["anthropic"], over)
