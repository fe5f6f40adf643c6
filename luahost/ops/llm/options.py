"""What a script may say to orcs.llm and orcs.llm_ping: the shapes, the ranges, and what no grant allows.

A wrong option is a failed result naming its field, never an error and never silence. Knows no gate and no server.
Sources: LLM_WIRE.md O12, C1, C5, N15, U22, U23.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from luahost.ops import results
from luahost.ops.llm import pictures
from luahost.ops.llm.pictures import Picture
from luahost.ops.results import Result
from luahost.ops.sessions.calls import ToolResult
from luahost.ops.sessions.dump import valid_id
from luahost.values import nearest
from luahost.wire.lenient import is_heavy
from luahost.wire.messages import EFFORTS, THINKING, Cache, Tool

DEFAULT_PING_S = 5.0
MAX_TIMEOUT_S = 86_400.0
MAX_FALLBACKS = 10
MAX_EXTRA = 32
MAX_TEXT_CHARS = 4 * 1024 * 1024
MOST = {"tools": 1000, "tool_results": 1000, "stop": 100, "provider_order": 100, "fallback_on": 100}
"""Option → how many it may list."""

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_TOOL = re.compile(r"[^\x00-\x1f\x7f]{1,64}")  # wires that take fewer letters are given another name
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[ -~]{0,2000}")
_KEEP_ALIVE = re.compile(r"-?[0-9]{1,9}(\.[0-9]+)?(ms|s|m|h)?")

_NEVER_HEADERS = re.compile(
    "host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|content-(length|type|encoding)"
    "|accept-encoding|authorization|proxy-.*|cookie|x-api-key|api-key|x-goog-(api-key|user-project)"
    "|x-forwarded-.*|forwarded",
    re.I,
)
"""What frames the message, what proves who we are, what makes the server think we are someone else."""

_NEVER_BODY = re.compile(
    "models?|messages|input|prompt|contents|system(_?instruction)?|instructions|stream|stream_options|tools"
    "|functions|function_call|tool_?choice|tool_?config|max_(completion_|output_)?tokens|maxoutputtokens|n|best_of"
    "|candidate_?count|num_predict|cached_?content|previous_response_id|conversation|container|mcp_servers",
    re.I,
)
"""What the gate has judged or counted, or what brings in text it has not seen; in a member too, one step down."""


_HOLDS_LIMITS = re.compile("generation_?config|options", re.I)
"""Members in which luahost itself writes what the gate has judged: they are added to, never replaced."""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom to ask when the ones before could not answer."""

    provider: str | None = None
    model: str | None = None


class LlmOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.llm. Times are seconds."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    system_prompt: str | None = None
    session_id: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None
    timeout: float | None = None  # first_token_timeout and idle_timeout, where those are not given
    connect_timeout: float | None = None
    first_token_timeout: float | None = None
    idle_timeout: float | None = None
    overall_timeout: float | None = None
    max_retries: int | None = None
    stream: bool | None = None
    thinking: str | int | None = None
    effort: str | None = None
    cache: Cache | None = None
    num_ctx: int | None = None
    keep_alive: str | int | None = None
    parallel_tool_calls: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    tool_results: list[ToolResult] | None = None
    images: list[Picture] | None = None
    response_schema: dict[str, Any] | None = None
    provider_order: list[str] | None = None
    extra_headers: dict[str, str] | None = None
    extra_body: dict[str, Any] | None = None
    strict: bool = False
    compact_at: int | None = None
    fallback: list[str | Route] | None = None  # walked in the VM; here it is only checked
    fallback_on: list[str] | None = None


class LlmArgs(msgspec.Struct, frozen=True):
    opts: LlmOptions
    prompt: str | None = None
    streamed: bool = False  # the script has an on_delta or an on_event
    events: Literal["text", "all"] = "text"  # which of a stream's events it wants
    throwaway: bool = False  # its session is not kept
    resolving: bool = False  # the script runs the tools: a call that cannot be read gets an error as its result


class PingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.llm_ping."""

    provider: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    timeout: float = DEFAULT_PING_S


class PingArgs(msgspec.Struct, frozen=True):
    opts: PingOptions


_IN_THE_VM = ("on_delta", "on_event", "resolve", "max_tool_turns", "hil_intents")


KNOWN: tuple[str, ...] = (
    *_IN_THE_VM,
    *LlmOptions.__struct_fields__,
    *(
        f"{field}.{name}"
        for field, shape in (
            ("cache", Cache),
            ("tools", Tool),
            ("tool_results", ToolResult),
            ("images", Picture),
            ("fallback", Route),
        )
        for name in shape.__struct_fields__
    ),
)
"""The names that opts may have, dotted where a table is inside it; for "did you mean"."""

# ── what a shape cannot say ─────────────────────────────────────────────────────────────────────────────

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("max_tokens", 1, 1 << 31),
    ("seed", -(1 << 63), (1 << 63) - 1),
    ("timeout", 0.001, MAX_TIMEOUT_S),
    ("connect_timeout", 0.001, MAX_TIMEOUT_S),
    ("first_token_timeout", 0.001, MAX_TIMEOUT_S),
    ("idle_timeout", 0.001, MAX_TIMEOUT_S),
    ("overall_timeout", 0.001, MAX_TIMEOUT_S),
    ("max_retries", 0, 100),
    ("num_ctx", 1, 1 << 31),
    ("thinking", 0, 1 << 31),
    ("compact_at", 1, 1 << 53),
)


def problem(args: LlmArgs) -> Result | None:
    """invalid_options naming the first field that is wrong, or None."""
    return next(_too_much(args), None) or next(_problems(args.opts), None)


def _too_much(args: LlmArgs) -> Iterator[Result]:
    """What would keep the event loop waiting while it is checked and written, and what no model takes."""
    opts = args.opts
    for name, most in MOST.items():
        if len(getattr(opts, name) or ()) > most:
            yield results.invalid(name, f"at most {most} expected, got {len(getattr(opts, name))}")
    said = [args.prompt, opts.system_prompt, *(each.content for each in opts.tool_results or ())]
    if sum(map(len, filter(None, said))) > MAX_TEXT_CHARS:
        yield results.invalid(
            "prompt", f"at most {MAX_TEXT_CHARS} characters expected, system_prompt and results included"
        )
    for name, share in (("tools", 15), ("extra_body", 40), ("response_schema", 60)):
        data = getattr(opts, name)
        if data and is_heavy(_encode(data), share):
            yield results.invalid(name, "fewer tables and lists in it expected")


_encode = msgspec.json.Encoder(enc_hook=lambda text: None).encode


def _problems(opts: LlmOptions) -> Iterator[Result]:
    for name, low, high in _RANGES:
        value = getattr(opts, name)
        if isinstance(value, int | float) and not low <= value <= high:
            yield results.invalid(name, f"from {low:g} to {high:g} expected, got {value:g}")
    if isinstance(opts.thinking, str) and opts.thinking not in THINKING:
        yield _word("thinking", opts.thinking, THINKING, " or a number of tokens")
    if opts.effort is not None and opts.effort not in EFFORTS:
        yield _word("effort", opts.effort, EFFORTS)
    if opts.model is not None:
        yield from model_problem("model", opts.model)
    if opts.session_id and not valid_id(opts.session_id):
        yield results.invalid("session_id", "at most 200 characters without control characters expected")
    if opts.keep_alive is not None and not _KEEP_ALIVE.fullmatch(str(opts.keep_alive)):
        yield results.invalid(
            "keep_alive", f"a duration like 5m, or seconds, expected, got {opts.keep_alive!r:.80}"
        )
    if opts.cache is not None and not 0 <= opts.cache.turns <= 4:
        yield results.invalid("cache.turns", f"from 0 to 4 expected, got {opts.cache.turns}")
    yield from _tools(opts)
    yield from pictures.problems(opts.images or ())
    if opts.response_schema is not None:
        yield from _data("response_schema", opts.response_schema)
        if not opts.response_schema:
            yield results.invalid("response_schema", "a JSON Schema expected, got an empty table")
    for name in opts.provider_order or ():
        if not re.fullmatch(r"[A-Za-z0-9._/-]{1,100}", name):
            yield results.invalid("provider_order", f"names of providers expected, got {name[:80]!r}")
    yield from _extra(opts)
    if opts.fallback is not None and len(opts.fallback) > MAX_FALLBACKS:
        yield results.invalid("fallback", f"at most {MAX_FALLBACKS} expected, got {len(opts.fallback)}")


def _word(field: str, got: str, words: tuple[str, ...], more: str = "") -> Result:
    return results.invalid(
        field, f"one of {', '.join(words)}{more} expected, got {got[:40]!r}{nearest(got[:40], words)}"
    )


def model_problem(field: str, model: str) -> Iterator[Result]:
    if not _MODEL.fullmatch(model) or ".." in model or "//" in model:
        yield results.invalid(field, f"a model name expected, got {model[:80]!r}")


def _tools(opts: LlmOptions) -> Iterator[Result]:
    names = [tool.name for tool in opts.tools or ()]
    for number, tool in enumerate(opts.tools or (), 1):
        if not _TOOL.fullmatch(tool.name):
            text = f"a name of 1 to 64 characters without control characters expected, got {tool.name[:80]!r}"
            yield results.invalid(f"tools[{number}].name", text)
        yield from _data(f"tools[{number}].parameters", tool.parameters)
    if len(set(names)) != len(names):
        yield results.invalid("tools", "each name once expected")
    choice = opts.tool_choice
    if choice is not None and choice not in ("auto", "none", "required", *names):
        wanted = ("auto", "none", "required", *names)
        text = f"auto, none, required or the name of one of the tools expected, got {choice[:80]!r}"
        yield results.invalid("tool_choice", text + nearest(choice[:80], wanted))


def _data(field: str, value: Any) -> Iterator[Result]:
    """What is sent as JSON as it is: a text in it is UTF-8, or there is no JSON for it."""
    if isinstance(value, bytes):
        yield results.invalid(field, "a text that is not valid UTF-8 has no JSON form")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _data(f"{field}.{name[:100]}", each)
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from _data(f"{field}[{number}]", each)


def plain(value: Any) -> Any:
    """The same as it goes out: whole numbers whole, 100 for Lua's 100.0; members by name, as a table has no order
    and a prefix that is the same bytes in every run is what a provider's cache finds again."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, dict):
        return {name: plain(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def duration(keep_alive: str | int | None) -> str | None:
    """A keep_alive as the wire takes it: a bare number is seconds."""
    if keep_alive is None:
        return None
    text = str(keep_alive)
    return f"{text}s" if text[-1].isdigit() else text


# ── what luahost does not know ──────────────────────────────────────────────────────────────────────────


def extra_names(opts: LlmOptions) -> tuple[str, ...]:
    """What the gate judges: members of extra_body, names of extra_headers."""
    return (*(opts.extra_body or ()), *(opts.extra_headers or ()))


def _extra(opts: LlmOptions) -> Iterator[Result]:
    for field in ("extra_headers", "extra_body"):
        if len(getattr(opts, field) or ()) > MAX_EXTRA:
            yield results.invalid(field, f"at most {MAX_EXTRA} expected")
    for name, value in (opts.extra_headers or {}).items():
        if not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            yield results.invalid(f"extra_headers.{name[:100]}", "a header's name and one line of ASCII expected")
        elif _NEVER_HEADERS.fullmatch(name):
            yield results.invalid(f"extra_headers.{name}", "this header is never a script's to set")
    for name, value in (opts.extra_body or {}).items():
        inner = tuple(value) if isinstance(value, Mapping) else ()
        if _HOLDS_LIMITS.fullmatch(name) and not isinstance(value, Mapping):
            yield results.invalid(f"extra_body.{name}", "a table expected: its members are laid over luahost's own")
        for each in (name, *inner):
            if _NEVER_BODY.fullmatch(each):
                where = f"extra_body.{name[:100]}" if each == name else f"extra_body.{name[:100]}.{each[:100]}"
                yield results.invalid(where, "this member has an option of its own, or is never a script's to set")
        yield from _data(f"extra_body.{name[:100]}", value)
