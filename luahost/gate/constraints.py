"""What each kind of grant can be narrowed to: one struct a kind.

A constraint that is absent does not constrain, but for what ABSENT and the DEFAULT_ tables say. What a name means
is sorts'. A new kind is a struct here, its rules in rules.py and its operations in the table of syscalls.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Constraints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every kind may be narrowed to.

    max_calls           calls in all
    max_concurrency     calls under way at the same time
    rate                calls in a time, "10/s", "60/m", "500/h": so many at once, and then as they come back
    expires_in_s        seconds from when the grant is first given to a VM
    approve             "ask": each call waits for the host's approver
    """

    max_calls: int | None = None
    max_concurrency: int | None = None
    rate: str | None = None
    expires_in_s: float | None = None
    approve: str | None = None


class LlmConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `llm` may be narrowed to.

    models, providers   names; `*` stands for any text. An empty list allows nothing
    hosts               the only hosts a call may go to, `host[:port]`; https, or http on loopback. A script's own
                        base_url is accepted only if it is listed here. Absent: the providers' own hosts
    max_tokens          tokens in all, prompts and answers together
    max_input_tokens, max_output_tokens   the same, each by itself
    max_tokens_per_call tokens of one answer
    max_cost_usd        US dollars in all; a model whose price is not known is refused
    max_tool_turns      how often in a row tool results may go back to the model
    max_timeout_s       seconds one call may take at most, whatever overall_timeout says
    tools               names of the tools that may be offered to the model; `*` stands for any text
    stream              false: no streamed answers
    extra               members of extra_body and names of extra_headers that may be sent, or true for all.
                        Absent: none
    """

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_tokens_per_call: int | None = None
    max_cost_usd: float | None = None
    max_tool_turns: int | None = None
    max_timeout_s: float | None = None
    tools: tuple[str, ...] | None = None
    stream: bool | None = None
    extra: tuple[str, ...] | None = None


class FileConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `fs.read`, `fs.write` and `fs.delete` may be narrowed to.

    roots       the directories below which files are reached. Absent: for reading the host's working directory,
                for writing and deleting none
    globs       paths beneath a root, with `*`, `?` and `**`; a name that begins with a dot is reached only where a
                glob names it
    max_bytes   bytes read or written in all
    """

    roots: tuple[str, ...] | None = None
    globs: tuple[str, ...] | None = None
    max_bytes: int | None = None


class ExecConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `exec` may be narrowed to.

    commands          how a command must begin: `git status` allows `git status -s`, not `git push`; absent: any
    shell             true: orcs.exec(text) is run by sh; otherwise only orcs.exec_argv is. With `commands`, such a
                      text may hold no sign that means something to a shell
    env               the host's variables that the program sees; absent: none
    roots             the directories it may be started in; absent: the host's
    timeout_s         seconds after which it is killed; absent: 60
    max_output_bytes  of each of its two outputs; absent: 1 MiB
    """

    commands: tuple[str, ...] | None = None
    shell: bool | None = None
    env: tuple[str, ...] | None = None
    roots: tuple[str, ...] | None = None
    timeout_s: float | None = None
    max_output_bytes: int | None = None


class HttpConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `http` may be narrowed to.

    hosts               the only hosts requests go to, `host[:port]`; https, or http on loopback; other http is
                        spelt out. Absent: any public one
    methods             of GET, POST, PUT, DELETE, PATCH, HEAD
    paths               what a URL's path must begin with, whole names
    allow_private       names may stand for private addresses; an address in `hosts` is named anyway
    max_response_bytes  of one answer's body, after decompression; absent: 10 MiB
    max_redirects       how many are followed, each judged like a request; absent: none
    timeout_s           seconds for one request, its redirects included; absent: 30
    """

    hosts: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    allow_private: bool | None = None
    max_response_bytes: int | None = None
    max_redirects: int | None = None
    timeout_s: float | None = None


class SpawnConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `spawn` may be narrowed to. Where no grant says how many, ABSENT does.

    max_children    living children of one VM
    max_tree        living VMs below the root of the tree
    max_depth       a root's children are at depth 1, theirs at 2
    may_delegate    the kinds of grant that may be handed on to a child; `*` stands for any text
    default         what a child holds whose parent names no caps: none (as if absent), or inherit
    """

    max_children: int | None = None
    max_tree: int | None = None
    max_depth: int | None = None
    may_delegate: tuple[str, ...] | None = None
    default: str | None = None


class McpConstraints(Constraints, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What `mcp` may be narrowed to.

    servers  names of the configuration's servers; `*` stands for any text
    tools    names of their tools
    """

    servers: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None


KINDS: dict[str, type[Constraints]] = {
    "llm": LlmConstraints,
    "fs.read": FileConstraints,
    "fs.write": FileConstraints,
    "fs.delete": FileConstraints,
    "exec": ExecConstraints,
    "http": HttpConstraints,
    "spawn": SpawnConstraints,
    "mcp": McpConstraints,
}
"""Every kind of grant and its constraints."""

ABSENT: dict[str, dict[str, Any]] = {
    "http": {"allow_private": False, "max_redirects": 0, "timeout_s": 30.0, "max_response_bytes": 10 << 20},
    "exec": {"shell": False, "env": (), "timeout_s": 60.0, "max_output_bytes": 1 << 20},
    "spawn": {"max_children": 64, "max_tree": 256, "max_depth": 8},
}
"""Kind → what holds where a grant does not say. A narrower one cannot say more than that."""

DEFAULT_CAPS: dict[str, dict[str, int]] = {"fs.write": {"calls": 10_000, "bytes": 256 << 20}}
"""Kind → what a grant may use up where it does not say: a script nobody has read must not fill the disk."""

DEFAULT_CONCURRENCY: dict[str, int] = {"exec": 32}
"""Kind → calls under way at a time where a grant does not say: nor may it fill the table of processes."""
