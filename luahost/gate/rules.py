"""What the constraints of each kind forbid: one function per kind, asked for every grant of a chain.

(constraints, action) → None, or the refusal that names the constraint. What a whole chain must have, and not each
of its grants, is in CHAIN_RULES. Budgets are the ledger's, time and revocation the policy's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from luahost.gate import hosts, paths
from luahost.gate.constraints import (
    ABSENT,
    ExecConstraints,
    FileConstraints,
    HttpConstraints,
    LlmConstraints,
    McpConstraints,
    SpawnConstraints,
)
from luahost.gate.permits import ExecAction, FileAction, HttpAction, LlmAction, McpAction, SpawnAction
from luahost.gate.sorts import has_prefix, matches, words


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A no: the word for scripts, one clear line, the rule that decided, and grant text that would allow it."""

    kind: str
    message: str
    rule: str
    limit: str | int | float | None = None
    used: int | float | None = None
    grant: str = ""
    retryable: bool = False
    retry_after_s: float | None = None


def outside(kind: str, error_kind: str, got: tuple[str, str], rule: str, listed: tuple[str, ...]) -> Refusal:
    """What was asked for, got = (what it is, its name), is not among what the constraint `rule` lists."""
    what, name = got
    return Refusal(
        kind=error_kind,
        message=f"{kind} denied: the {what} {name[:200]!r} is not among the granted {rule} "
        f"({', '.join(listed) or 'none'})",
        rule=rule,
        limit=",".join(listed),
        grant=f"{kind}:{rule}={name[:200]}",
    )


# ── llm ─────────────────────────────────────────────────────────────────────────────────────────────────


def llm(held: LlmConstraints, action: LlmAction) -> Refusal | None:
    if held.providers is not None and not matches(held.providers, action.provider):
        return outside("llm", "permission_denied", ("provider", action.provider), "providers", held.providers)
    if held.models is not None and action.model is not None and not matches(held.models, action.model):
        return outside("llm", "model_not_allowed", ("model", action.model), "models", held.models)
    if held.hosts is not None and not hosts.names(held.hosts, action.origin):
        return outside("llm", "host_not_allowed", ("host", str(action.origin)), "hosts", held.hosts)
    if held.tools is not None:
        for name in action.tools:
            if not matches(held.tools, name):
                return outside("llm", "tool_not_allowed", ("tool", name), "tools", held.tools)
    if held.extra is not None:
        for name in action.extra:
            if not matches(held.extra, name):
                return outside("llm", "permission_denied", ("extra field", name), "extra", held.extra)
    if held.stream is False and action.streams:
        return Refusal(
            kind="permission_denied",
            message="llm denied: the grant allows no streamed answers; leave out stream, on_delta and on_event",
            rule="stream",
            limit="false",
        )
    if held.max_tokens_per_call is not None and action.output_tokens > held.max_tokens_per_call:
        return _over("max_tokens_per_call", held.max_tokens_per_call, action.output_tokens, "tokens of one answer")
    if held.max_tool_turns is not None and action.tool_turns > held.max_tool_turns:
        return _over("max_tool_turns", held.max_tool_turns, action.tool_turns, "rounds of tool results in a row")
    if held.max_cost_usd is not None and action.cost_microusd is None:
        return Refusal(
            kind="budget_exceeded",
            message=f"llm denied: no price is known for the model {(action.model or '')[:200]!r} of "
            f"{action.provider}, so max_cost_usd cannot be kept; set providers.{action.provider}.price in the "
            "configuration, or install luahost[prices]",
            rule="max_cost_usd",
            limit=held.max_cost_usd,
        )
    return None


def _over(rule: str, limit: int, asked: int, what: str) -> Refusal:
    """One call asks for more than a call may."""
    return Refusal(
        kind="budget_exceeded",
        message=f"llm denied: {rule} allows {limit} {what}, and this would be {asked}",
        rule=rule,
        limit=limit,
        used=asked,
        grant=f"llm:{rule}={asked}",
    )


def llm_chain(chain: list[LlmConstraints], action: LlmAction) -> Refusal | None:
    """What no grant lists is not open: the hosts of URLs of a script's own, and fields that luahost does not know.

    The operator's own grant, the last of the chain, decides: a list below one that has none narrows, and adds none.
    """
    root = chain[-1]
    if action.extra and root.extra is None:
        name = action.extra[0][:200]
        return Refusal(
            kind="permission_denied",
            message=f"llm denied: extra_body and extra_headers are sent only where the grant lists them; "
            f"`llm:extra={name}` allows this one",
            rule="extra",
            grant=f"llm:extra={name}",
        )
    if not action.own_base_url or root.hosts is not None:
        return None
    return Refusal(
        kind="host_not_allowed",
        message=f"llm denied: the script named the host {action.origin}, and its grant lists no hosts; "
        f"`llm:hosts={hosts.entry(action.origin)}` allows it",
        rule="hosts",
        grant=f"llm:hosts={hosts.entry(action.origin)}",
    )


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────


def files(held: FileConstraints, action: FileAction) -> Refusal | None:
    kind = action.kind
    roots = held.roots if held.roots is not None else (action.start,) if kind == "fs.read" else ()
    inside = [names for root in roots if (names := paths.beneath(action.path, root)) is not None]
    if not inside:
        return outside(kind, "path_not_allowed", ("path", action.path), "roots", roots)
    if held.globs is None:
        careful = any(paths.is_hidden(names) for names in inside) or (action.is_code and kind != "fs.read")
        if not careful:
            return None
        named = "the name of a module of this script" if action.is_code else "a name that begins with a dot"
        return Refusal(
            kind="path_not_allowed",
            message=f"{kind} denied: {action.path[:200]!r} has {named}, which only globs of the grant can reach",
            rule="globs",
            grant=f"{kind}:globs={'/'.join(inside[0])[:200]}",
        )
    fits = paths.leads if action.is_base else paths.matches_glob
    if any(fits(held.globs, names) for names in inside):
        return None
    return outside(kind, "path_not_allowed", ("path", "/".join(inside[0])), "globs", held.globs)


# ── exec ────────────────────────────────────────────────────────────────────────────────────────────────

SHELL_SIGNS = frozenset(";|&<>()$`\\\"'*?[]{}~#!=%^\n\r\t")
"""A shell's text without any of these is its words and nothing more."""


def exec_(held: ExecConstraints, action: ExecAction) -> Refusal | None:
    roots = held.roots if held.roots is not None else (action.start,)
    if not any(paths.beneath(action.path, root) is not None for root in roots):
        return outside("exec", "path_not_allowed", ("directory", action.path), "roots", roots)
    if held.commands is None:
        return None
    if action.text is not None and SHELL_SIGNS & set(action.text):
        return Refusal(
            kind="permission_denied",
            message="exec denied: the grant lists commands, and the text has a sign that means more to a shell",
            rule="commands",
            limit=",".join(held.commands),
        )
    given = action.argv if action.text is None else words(action.text)
    if any(given[: len(words(each))] == words(each) for each in held.commands):
        return None
    return outside("exec", "permission_denied", ("command", " ".join(given)), "commands", held.commands)


def exec_chain(chain: list[ExecConstraints], action: ExecAction) -> Refusal | None:
    """A shell is what the grant at the top says, and none below it takes back: no narrower one can add it."""
    if action.text is None or (chain[-1].shell and not any(held.shell is False for held in chain)):
        return None
    return Refusal(
        kind="permission_denied",
        message="exec denied: the grant does not let a shell run; orcs.exec_argv needs none, "
        "and `exec:shell=true` allows it",
        rule="shell",
        grant="exec:shell=true",
    )


# ── http ────────────────────────────────────────────────────────────────────────────────────────────────


def http(held: HttpConstraints, action: HttpAction) -> Refusal | None:
    if held.hosts is not None and not hosts.names(held.hosts, action.origin):
        return outside("http", "host_not_allowed", ("host", str(action.origin)), "hosts", held.hosts)
    if held.methods is not None and action.method not in held.methods:
        return outside("http", "permission_denied", ("method", action.method), "methods", held.methods)
    if held.paths is not None:
        path = action.url_path
        # What a server makes of an encoded slash nobody knows.
        told = not re.search("%2f|%5c", path, re.IGNORECASE)
        if not told or not any(has_prefix(path, prefix) for prefix in held.paths):
            return outside("http", "path_not_allowed", ("path", path), "paths", held.paths)
    return None


# ── spawn ───────────────────────────────────────────────────────────────────────────────────────────────


def spawn(held: SpawnConstraints, action: SpawnAction) -> Refusal | None:
    for kind in action.kinds:
        if held.may_delegate is not None and not matches(held.may_delegate, kind):
            return outside("spawn", "permission_denied", ("kind", kind), "may_delegate", held.may_delegate)
    return None


def spawn_limit(chain: list[SpawnConstraints], name: str) -> int:
    """The lowest that the chain says; where its top says nothing, that is the default."""
    said: list[int] = [value for held in chain if (value := getattr(held, name)) is not None]
    at_top = chain[-1:] and getattr(chain[-1], name) is not None
    return min(said if at_top else [*said, ABSENT["spawn"][name]])


def spawn_chain(chain: list[SpawnConstraints], action: SpawnAction) -> Refusal | None:
    """Whether there is a place for one more child."""
    wanted = (
        ("max_depth", action.depth, "max_depth_reached", "the tree may be {} deep"),
        ("max_children", action.siblings + 1, "max_children_reached", "{} children may live at a time"),
        ("max_tree", action.tree + 1, "max_children_reached", "{} children may live in the whole tree at a time"),
    )
    for rule, needed, kind, text in wanted:
        limit = spawn_limit(chain, rule)
        if needed > limit:
            return Refusal(
                kind=kind,
                message=f"spawn denied: {text.format(limit)}",
                rule=rule,
                limit=limit,
                used=needed - 1,
                grant=f"spawn:{rule}={needed}",
                retryable=rule != "max_depth",
            )
    return None


# ── mcp ─────────────────────────────────────────────────────────────────────────────────────────────────


def mcp(held: McpConstraints, action: McpAction) -> Refusal | None:
    if held.servers is not None and action.server is not None and not matches(held.servers, action.server):
        return outside("mcp", "permission_denied", ("server", action.server), "servers", held.servers)
    if held.tools is not None and action.tool is not None and not matches(held.tools, action.tool):
        return outside("mcp", "tool_not_allowed", ("tool", action.tool), "tools", held.tools)
    return None


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────────

RULES: dict[str, Callable[[Any, Any], Refusal | None]] = {
    "llm": llm,
    "fs.read": files,
    "fs.write": files,
    "fs.delete": files,
    "exec": exec_,
    "http": http,
    "spawn": spawn,
    "mcp": mcp,
}
"""Kind → what one grant's constraints say to an action of it."""

CHAIN_RULES: dict[str, Callable[[Any, Any], Refusal | None]] = {
    "llm": llm_chain,
    "exec": exec_chain,
    "spawn": spawn_chain,
}
"""Kind → what the constraints of the whole chain say together."""
