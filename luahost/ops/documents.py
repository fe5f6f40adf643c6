"""Texts with a form: TOML, and front matter in YAML or TOML before a text. One act reads a file, and needs a grant.

What is read becomes plain values: dates are ISO 8601 texts, keys are texts. Bounded in size, depth and number, and
YAML has no aliases here, so that a small text stays a small value. The libraries are Python's tomllib and PyYAML's
safe loader, on libyaml where it is built in.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec

from luahost.errors import ConfigError
from luahost.ops import results
from luahost.ops.files.calls import FilePermit, PathArgs, read
from luahost.ops.results import Result
from luahost.ops.world import Emit, Planned, Share

MAX_BYTES = 64 * 1024
"""Of a document, or of the front matter of one."""
MAX_DEPTH = 32
MAX_NODES = 20_000
_FENCES = {"---": "yaml", "+++": "toml"}


class TextArgs(msgspec.Struct, frozen=True):
    text: str


class _Unreadable(Exception):
    """The text is not what it should be; one line."""


async def toml_parse(share: Share, args: TextArgs) -> Result:
    """{ok, value}"""
    return await _read(share, args.text, lambda: {"value": _toml(args.text)})


async def frontmatter(share: Share, args: TextArgs) -> Result:
    """{ok, frontmatter, body, format}: format is yaml or toml; without front matter body is all of the text."""
    return await _frontmatter(share, args.text)


async def parse_frontmatter(
    permit: FilePermit, planned: Planned, args: PathArgs, share: Share, emit: Emit | None
) -> Result:
    """The same of a file."""
    file = await read(permit, planned, args, share, emit)
    if not file["ok"]:
        return file
    if isinstance(file["content"], bytes):
        return results.error("parse_error", "a text in UTF-8 expected")
    return await _frontmatter(share, file["content"])


async def _frontmatter(share: Share, text: str) -> Result:
    matter, form, body = _divided(text)
    if form is None:
        fence = text[:100].partition("\n")[0].rstrip()
        if fence in _FENCES and text.find("\n" + fence, MAX_BYTES) >= 0:
            return results.error("too_large", f"front matter of at most {MAX_BYTES} characters expected")
        return {"ok": True, "body": body}
    parse = _toml if form == "toml" else _yaml
    return await _read(share, matter, lambda: {"frontmatter": parse(matter), "format": form, "body": body})


def _divided(text: str) -> tuple[str, str | None, str]:
    """The front matter, its format, and the rest; no format where there is none, or no second fence in reach."""
    first, newline, rest = text.removeprefix("\ufeff")[: MAX_BYTES + 100].partition("\n")
    fence = first.rstrip()
    if fence not in _FENCES or not newline:
        return "", None, text
    found = re.search(rf"^{re.escape(fence)}[ \t\r]*$", rest, re.MULTILINE)
    if found is None:
        return "", None, text
    begin = len(text) - len(text.removeprefix("\ufeff")) + len(first) + 1
    return rest[: found.start()], _FENCES[fence], text[begin + found.end() + 1 :]


async def _read(share: Share, text: str, parse: Callable[[], dict[str, Any]]) -> Result:
    if len(text) > MAX_BYTES:
        return results.error("too_large", f"at most {MAX_BYTES} characters expected, got {len(text)}")

    def timed() -> tuple[Result, float]:
        began = time.thread_time()
        try:
            result: Result = {"ok": True, **parse()}
        except _Unreadable as problem:
            result = results.error("parse_error", str(problem))
        except RecursionError:
            result = results.error("too_large", f"nested deeper than {MAX_DEPTH}")
        return result, time.thread_time() - began

    async def work() -> tuple[Result, float]:
        # Who is cancelled does not wait for the thread; the next one, of any VM, does.
        return await share.world.pace.aside(timed)

    return await share.lane.run(work)


# ── the formats ─────────────────────────────────────────────────────────────────────────────────────────


_PART = r"""(?:[\w-]++|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"""(?<![\w"'\\-])(?:{_PART}){{{MAX_DEPTH}}}""")
"""A dotted key of more parts than a value may be deep: tomllib's time grows with the square of its length."""


def _toml(text: str) -> Any:
    import tomllib

    if _LONG_KEY.search(text):
        raise _Unreadable(f"not read: a key of more than {MAX_DEPTH} parts")
    try:
        return _plain(tomllib.loads(text.replace("\r\n", "\n")))
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise _Unreadable(f"not TOML: {error}"[:300]) from None


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError("front matter in YAML needs pip install 'luahost[yaml]'", kind="not_supported") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = nodes = 0
    try:
        for event in yaml.parse(text, Loader=loader):  # nothing is built until it is known to be small
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            nodes += isinstance(event, yaml.NodeEvent)
            if isinstance(event, yaml.AliasEvent):
                raise _Unreadable("not read: YAML with aliases")
            if depth > MAX_DEPTH or nodes > MAX_NODES:
                raise _Unreadable(f"not read: YAML of more than {MAX_NODES} nodes, or {MAX_DEPTH} deep")
        return _plain(yaml.load(text, Loader=loader))  # noqa: S506 - the safe loader
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise _Unreadable(f"not YAML: {' '.join(str(error).split())}"[:300]) from None


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as it may enter a VM."""
    if depth > MAX_DEPTH:
        raise _Unreadable(f"not read: nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return {_key(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unreadable("not read: a number that is not finite")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise _Unreadable("not read: a whole number of more than 64 bits")
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int | float | datetime.date):
        return str(key)
    raise _Unreadable("not read: a key that is no text")
