"""Which model takes what: the facts of models.toml, looked up by a model's name.

The idea: a wire asks for facts and never looks at a model's name itself. The table ships with luahost and ages
within weeks (C4), so a configuration can lay rows of its own over it: those say only what is different, and the
first one that matches counts before the shipped row does.

Knows no wire and no options: what follows from a fact is the wire's. Reads one file, its own, once.
Sources: LLM_WIRE.md W5 to W8, W15 to W20, W25, I14, C3, C4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec

from luahost.errors import ConfigError
from luahost.values import nearest
from luahost.wire.messages import EFFORTS

Row = dict[str, Any]
"""A row as it stands in the file: its `pattern`, and the facts it says."""


LEVEL_TOKENS: dict[str, int] = {"minimal": 1024, "low": 4096, "medium": 10_000, "high": 32_000, "xhigh": 100_000}
"""What a level is worth where a budget is wanted, and the other way round."""


class Claude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model on the Anthropic wire takes. The defaults are those of a server nobody knows anything about.

    max_output     tokens of an answer, thinking included; None: not known
    sampling       of temperature and top_p: both, one at a time, or none (a 400)
    thinking       how it is asked for: with a budget of tokens, adaptive (by effort), either, or not at all
    off            how it is asked not to think: by saying nothing, a word, or it always thinks
    show_thinking  it hides its thinking unless asked to show it
    efforts        the words of output_config.effort it takes, weakest first; adaptive thinking is told in them too
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
    efforts: list[str] = []
    budgets: dict[str, int] = msgspec.field(default_factory=lambda: dict(LEVEL_TOKENS))
    forced_tools: bool = True
    schema: bool = False
    system_turns: bool = False


class Gpt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes on OpenAI's wires, chat completions and responses, OpenAI's own or another's.

    max_output        tokens of an answer, reasoning included; None: not known
    max_tokens_field  what chat completions calls that limit; older models and most other servers know max_tokens
    sampling          temperature and top_p are taken: always, only while it does not reason, or never (a 400)
    efforts           the words of reasoning_effort it takes, weakest first; none: it takes none of them
    parallel, seed, stop  the option is taken
    schema            response_format of type json_schema is taken
    responses         whom the Responses API is needed for: nobody, calls with tools, every call
    draws             it makes pictures, and is asked for them
    cache_marks       behind OpenRouter, it takes breakpoints of a prompt cache
    keeps_reasoning   it wants its reasoning_content back with the results of its calls; DeepSeek's own server does
    """

    max_output: int | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    sampling: Literal["both", "unthinking", "none"] = "both"
    efforts: list[str] = []
    parallel: bool = True
    seed: bool = True
    stop: bool = True
    schema: bool = True
    responses: Literal["never", "tools", "always"] = "never"
    draws: bool = False
    cache_marks: bool = False
    keeps_reasoning: bool = False


class Gemini(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model on the Gemini wire takes.

    max_output      tokens of an answer, thoughts included; None: not known
    thinking        what it is told in: a budget of tokens, a level, or not at all
    budgets         least and most tokens of thinking
    levels          the words it takes, weakest first
    may_not_think   thinking can be switched off
    signed_calls    a turn's first call without a signature is a 400
    schema          responseJsonSchema is taken: always, only without tools, or never
    draws           it makes pictures, and is asked for them
    """

    max_output: int | None = None
    thinking: Literal["budget", "level", "none"] = "none"
    budgets: tuple[int, int] = (0, 0)
    levels: list[str] = []
    may_not_think: bool = False
    signed_calls: bool = False
    schema: Literal["always", "without_tools", "never"] = "always"
    draws: bool = False


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
    import tomllib

    return tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))


def claude(over: Sequence[Row] = ()) -> Table[Claude]:
    """The table of the Anthropic wire."""
    return Table(Claude, shipped()["anthropic"], over)


KINDS: dict[str, type[msgspec.Struct]] = {
    "anthropic": Claude,
    "openai": Gpt,
    "compatible": Gpt,
    "gemini": Gemini,
}
"""The tables: OpenAI's own models, and those of everyone else who speaks its wire, are told apart."""


class Models:
    """All tables, with a configuration's rows laid over them: table -> rows. ConfigError for a row that cannot be.

    Compared by identity: one is made for a configuration, and `SHIPPED` for all without.
    """

    def __init__(self, over: Mapping[str, Sequence[Row]] | None = None) -> None:
        self.over = dict(over or {})
        for name, rows in self.over.items():
            if name not in KINDS:
                raise ConfigError(f"models: one of {', '.join(KINDS)} expected, got {name!r}{nearest(name, KINDS)}")
            for row in rows:
                _read(KINDS[name], row)

    @cached_property
    def anthropic(self) -> Table[Claude]:
        return claude(self.over.get("anthropic", ()))

    @cached_property
    def openai(self) -> Table[Gpt]:
        return Table(Gpt, shipped()["openai"], self.over.get("openai", ()))

    @cached_property
    def compatible(self) -> Table[Gpt]:
        return Table(Gpt, shipped()["compatible"], self.over.get("compatible", ()))

    @cached_property
    def gemini(self) -> Table[Gemini]:
        return Table(Gemini, shipped()["gemini"], self.over.get("gemini", ()))


SHIPPED = Models()

# ── levels of thinking, as every wire reads them ────────────────────────────────────────────────────────


def level_of(tokens: int) -> str:
    """The weakest level that is worth as many tokens; the strongest if none is."""
    return next((level for level, worth in LEVEL_TOKENS.items() if tokens <= worth), "xhigh")


def word_for(wanted: str, words: Sequence[str]) -> str | None:
    """The word of `words`, weakest first, that comes nearest: the same one, the next stronger, or the strongest.

    Nobody who asked for thinking is answered with "none"; who asked for none gets the weakest. None without a word.
    """
    wanted = "none" if wanted == "off" else wanted
    if wanted in words:
        return wanted
    place = EFFORTS.index(wanted) if wanted in EFFORTS else len(EFFORTS)
    thinking = [word for word in words if word != "none"]
    stronger = (word for word in thinking if word in EFFORTS and EFFORTS.index(word) > place)
    return next(stronger, thinking[-1] if thinking else None)
