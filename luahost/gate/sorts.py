"""The sorts of constraint: how each is written as text, what it may be, when one value is narrower than another.

A name means the same in every kind of grant: SORTS has one row for each. Which names a kind takes is constraints'.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.gate import paths
from luahost.gate.hosts import origins


class Sort(msgspec.Struct, frozen=True):
    """One sort of constraint.

    wanted   what it may be, in words
    read     grant text → a value, which `check` still has to pass
    check    a value as it was given → as it is kept; ValueError when it is none
    narrows  (value, wider) → whether the first allows nothing that the second does not
    """

    wanted: str
    read: Callable[[str], Any]
    check: Callable[[Any], Any]
    narrows: Callable[[Any, Any], bool]


def _list_of(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _texts(value: Any) -> tuple[str, ...]:
    is_list = isinstance(value, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(entry, str) and entry for entry in value):
        raise ValueError
    return tuple(value)


def _hosts(value: Any) -> tuple[str, ...]:
    entries = _texts(value)
    for entry in entries:
        origins(entry)  # a ConfigError of its own words
    return entries


def _hosts_narrow(value: tuple[str, ...], wider: tuple[str, ...]) -> bool:
    allowed = {origin for entry in wider for origin in origins(entry)}
    return all(origin in allowed for entry in value for origin in origins(entry))


def _one_of(*words: str) -> Sort:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    # The words stand in order, the narrowest first.
    return Sort(" or ".join(words), str.strip, check, lambda value, wider: words.index(value) <= words.index(wider))


def _number(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            return text  # check() says what was wanted

    return read


def _methods(value: Any) -> tuple[str, ...]:
    upper = tuple(entry.upper() for entry in _texts(value))
    if not set(upper) <= set(METHODS):
        raise ValueError
    return upper


def _path_prefixes(value: Any) -> tuple[str, ...]:
    if not all(entry.startswith("/") for entry in _texts(value)):
        raise ValueError
    return tuple(value)


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a URL's path lies at or below the prefix: whole names, so /v1 does not allow /v10."""
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(bare + "/")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - as of the other sorts
    return value


def _env_names(value: Any) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", entry) for entry in _texts(value)):
        raise ValueError
    return tuple(value)


def words(command: str) -> tuple[str, ...]:
    """The words of a command as grant text has it: separated by spaces, no quotes."""
    return tuple(command.split())


def _commands(value: Any) -> tuple[str, ...]:
    if not all(words(entry) for entry in _texts(value)):
        raise ValueError
    return tuple(" ".join(words(entry)) for entry in value)


def _commands_narrow(value: tuple[str, ...], wider: tuple[str, ...]) -> bool:
    return all(any(words(each)[: len(words(mine))] == words(mine) for mine in wider) for each in value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError
    return value


def _dollars(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError
    return value


def _flag_of(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def _names_of(text: str) -> Any:
    flag = _flag_of(text)
    return flag if isinstance(flag, bool) else _list_of(text)


def _names(value: Any) -> tuple[str, ...]:
    """A list of names; true stands for every name, false for none."""
    return (("*",) if value else ()) if isinstance(value, bool) else _texts(value)


_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|m|h)")
_PER_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def rate(text: str) -> tuple[int, float]:
    """What "10/s", "60/m", "500/h" says: so many, and in how many seconds."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]), _PER_S[match[2]]


def _rate(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    rate(value)
    return value


def _rate_narrows(value: str, wider: str) -> bool:
    (many, per_s), (most, most_per_s) = rate(value), rate(wider)
    return many <= most and many / per_s <= most / most_per_s


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise ValueError
    return value


@functools.lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the patterns, in which `*` stands for any text, is this whole name."""
    return any(_glob(pattern).fullmatch(name) for pattern in patterns)


def _roots(value: Any) -> tuple[str, ...]:
    """Absolute, as seen from where the operator is now."""
    if any("\0" in entry for entry in _texts(value)):
        raise ValueError
    return tuple(os.path.abspath(entry) for entry in value)


def _roots_narrow(value: tuple[str, ...], wider: tuple[str, ...]) -> bool:
    return all(any(paths.beneath(each, root) is not None for root in wider) for each in value)


def _path_globs_narrow(value: tuple[str, ...], wider: tuple[str, ...]) -> bool:
    """The same glob, one below `**`, or a plain path that is matched; what cannot be told so counts as wider."""
    return all(each in wider or _is_below(each, wider) for each in value)


def _is_below(glob: str, wider: tuple[str, ...]) -> bool:
    names = tuple(glob.split("/"))
    if "**" in wider and not paths.is_hidden(names):
        return True
    return not set("*?") & set(glob) and paths.matches_glob(wider, names)


def _at_most(value: Any, wider: Any) -> bool:
    return bool(value <= wider)


# A `*` in the narrower pattern is only matched by a `*` in the wider one: text stands for text.
GLOBS = Sort("a list of texts", _list_of, _texts, lambda value, wider: all(matches(wider, each) for each in value))
HOSTS = Sort("a list of texts", _list_of, _hosts, _hosts_narrow)
ROOTS = Sort("a list of directories", _list_of, _roots, _roots_narrow)
PATH_GLOBS = Sort("a list of texts", _list_of, _texts, _path_globs_narrow)
COMMANDS = Sort("a list of commands", _list_of, _commands, _commands_narrow)
ENV_NAMES = Sort("a list of variables' names", _list_of, _env_names, lambda value, wider: set(value) <= set(wider))
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD")
HTTP_METHODS = Sort(
    f"some of {', '.join(METHODS)}", _list_of, _methods, lambda value, wider: set(value) <= set(wider)
)
PREFIXES = Sort(
    "a list of paths that begin with /",
    _list_of,
    _path_prefixes,
    lambda value, wider: all(any(has_prefix(each, mine) for mine in wider) for each in value),
)
COUNT = Sort("a whole number from 0 on", _number(int), _count, _at_most)
SECONDS = Sort("seconds above 0", _number(float), _seconds, _at_most)
DOLLARS = Sort("US dollars from 0 on", _number(float), _dollars, _at_most)
FLAG = Sort("true or false", _flag_of, _flag, _at_most)
NAMES = Sort("a list of names, or true for all", _names_of, _names, GLOBS.narrows)
RATE = Sort("a text like 10/s, 60/m or 500/h", str, _rate, _rate_narrows)

SORTS: dict[str, Sort] = {
    "approve": _one_of("ask"),
    "models": GLOBS,
    "providers": GLOBS,
    "hosts": HOSTS,
    "roots": ROOTS,
    "globs": PATH_GLOBS,
    "max_bytes": COUNT,
    "methods": HTTP_METHODS,
    "paths": PREFIXES,
    "allow_private": FLAG,
    "max_response_bytes": COUNT,
    "max_redirects": COUNT,
    "servers": GLOBS,
    "commands": COMMANDS,
    "env": ENV_NAMES,
    "shell": FLAG,
    "timeout_s": SECONDS,
    "max_output_bytes": COUNT,
    "max_calls": COUNT,
    "max_tokens": COUNT,
    "max_input_tokens": COUNT,
    "max_output_tokens": COUNT,
    "max_tokens_per_call": COUNT,
    "max_tool_turns": COUNT,
    "max_cost_usd": DOLLARS,
    "max_timeout_s": SECONDS,
    "rate": RATE,
    "stream": FLAG,
    "tools": GLOBS,
    "extra": NAMES,
    "max_concurrency": COUNT,
    "expires_in_s": SECONDS,
    "max_children": COUNT,
    "max_tree": COUNT,
    "max_depth": COUNT,
    "may_delegate": GLOBS,
    "default": _one_of("none", "inherit"),
}


def check(kind: str, name: str, value: Any) -> Any:
    """The value as it is kept; ConfigError when it is none of its sort."""
    sort = SORTS[name]
    try:
        return sort.check(value)
    except ConfigError as error:  # its words are about a URL
        why = error.message.removeprefix("base_url: ").removeprefix(f"{name}: ").replace("; use key_env", "")
        raise ConfigError(f"grant {kind}: {name}: {why}") from None
    except (ValueError, TypeError):
        raise ConfigError(f"grant {kind}: {name}: {sort.wanted} expected, got {value!r}") from None


def shown(value: Any) -> str:
    """A value as grant text has it."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
