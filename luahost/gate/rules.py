"""What the constraints of each kind forbid: one function per kind, asked for every grant of a chain.

(constraints, action) → None, or the refusal that names the constraint. What a whole chain must have, and not each
of its grants, is in CHAIN_RULES. Budgets are the ledger's, time and revocation the policy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from luahost.gate import hosts, paths
from luahost.gate.constraints import ExecConstraints, FileConstraints, LlmConstraints, matches, words
from luahost.gate.permits import ExecAction, FileAction, LlmAction


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A no: the word for scripts, one clear line, the rule that decided, and grant text that would allow it."""

    kind: str
    message: str
    rule: str
    limit: str | int | float | None = None
    used: int | None = None
    grant: str = ""
    retryable: bool = False


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
    return None


def llm_chain(chain: list[LlmConstraints], action: LlmAction) -> Refusal | None:
    """A URL of the script's own is only good where the operator's own grant, the last of the chain, lists its host:
    a list below one that has none narrows the providers' hosts, and adds none."""
    if not action.own_base_url or chain[-1].hosts is not None:
        return None
    return Refusal(
        kind="host_not_allowed",
        message=f"llm denied: the script named the host {action.origin}, and its grant lists no hosts; "
        f"`llm:hosts={_entry(action.origin)}` allows it",
        rule="hosts",
        grant=f"llm:hosts={_entry(action.origin)}",
    )


def _entry(origin: hosts.Origin) -> str:
    text = str(origin)
    return text.removeprefix("https://") if not origin.is_loopback else text.partition("://")[2]


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
    """A shell is what some grant says, and none above it takes back."""
    if action.text is None or (
        any(held.shell for held in chain) and not any(held.shell is False for held in chain)
    ):
        return None
    return Refusal(
        kind="permission_denied",
        message="exec denied: the grant does not let a shell run; orcs.exec_argv needs none, "
        "and `exec:shell=true` allows it",
        rule="shell",
        grant="exec:shell=true",
    )


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────────

RULES: dict[str, Callable[[Any, Any], Refusal | None]] = {
    "llm": llm,
    "fs.read": files,
    "fs.write": files,
    "fs.delete": files,
    "exec": exec_,
}
"""Kind → what one grant's constraints say to an action of it."""

CHAIN_RULES: dict[str, Callable[[Any, Any], Refusal | None]] = {"llm": llm_chain, "exec": exec_chain}
"""Kind → what the constraints of the whole chain say together."""
