"""THE table: every operation a VM can ask for, what its arguments look like, and which grant it needs.

A row without a capability is answered for every script. A row with one is answered by the deny stub until a
grant of that kind puts the act in its place (ladder.py). Nothing that is not in this table happens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from luahost.errors import HostFault
from luahost.ops import caps, clock, documents, evaluate, events, exec, http, modules
from luahost.ops.children import calls as children
from luahost.ops.children import spawning
from luahost.ops.files import calls as files
from luahost.ops.files import search as file_search
from luahost.ops.llm import complete as llm
from luahost.ops.llm import options as llm_options
from luahost.ops.llm import ping
from luahost.ops.llm import plan as llm_plan
from luahost.ops.mcp import calls as mcp
from luahost.ops.sessions import calls as session_calls


class Syscall(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    shape        the arguments' type; anything else is refused before the gate is asked
    capability   the kind of grant it needs; None: none
    plan         gated rows: (share, args) → the Plan the gate judges, a Refusal, or a failed result
    act          gated: async (permit, plan, args, share, emit); ungated: (share, args), plain or async
    options      the names an options table may have, for "did you mean"
    """

    op: str
    shape: Any
    act: Callable[..., Any]
    capability: str | None = None
    plan: Callable[..., Any] | None = None
    options: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether the act may take time; the others are answered on the spot."""
        return self.capability is not None or inspect.iscoroutinefunction(self.act)


def _open(op: str, shape: Any, act: Callable[..., Any], options: type[msgspec.Struct] | None = None) -> Syscall:
    return Syscall(op=op, shape=shape, act=act, options=_known(options))


def _gated(  # noqa: PLR0917 - a row of the table
    op: str,
    shape: Any,
    kind: str,
    plan: Callable[..., Any],
    act: Callable[..., Any],
    options: type[msgspec.Struct] | tuple[str, ...] | None = None,
) -> Syscall:
    return Syscall(op=op, shape=shape, capability=kind, plan=plan, act=act, options=_known(options or shape))


def _known(options: type[msgspec.Struct] | tuple[str, ...] | None) -> tuple[str, ...]:
    return options if isinstance(options, tuple) else options.__struct_fields__ if options is not None else ()


SYSCALLS: dict[str, Syscall] = {
    row.op: row
    for row in (
        _gated("llm", llm_options.LlmArgs, "llm", llm_plan.plan, llm.complete, llm_options.KNOWN),
        _gated("llm_ping", llm_options.PingArgs, "llm", llm_plan.plan_ping, ping.ping, llm_options.PingOptions),
        _gated("llm_models", llm_options.PingArgs, "llm", llm_plan.plan_ping, ping.models, llm_options.PingOptions),
        _gated("spawn_child", spawning.SpawnArgs, "spawn", spawning.plan, spawning.spawn),
        _open("child.send", children.MessageArgs, children.send),
        _open("child.run", children.MessageArgs, children.run),
        _open("child.batch", children.BatchArgs, children.batch),
        _open("child.send_async", children.MessageArgs, children.send_async),
        _open("child.result", children.TicketArgs, children.result, children.TicketOptions),
        _open("child.request", children.RequestArgs, children.request, children.RequestOptions),
        _open("child.request_batch", children.RequestBatchArgs, children.request_batch, children.BatchedRequest),
        _open("child.signal", children.SignalArgs, children.signal),
        _open("child.snapshot", children.ChildArgs, children.snapshot),
        _open("child.cancel", children.ChildArgs, children.cancel),
        _open("child.close", children.ChildArgs, children.close),
        _open("child.revoke", children.RevokeArgs, children.revoke),
        _open("child.status", children.ChildArgs, children.status),
        _open("child.usage", children.ChildArgs, children.usage),
        _open("child.list", None, children.listed),
        _open("child.count", None, children.counted),
        _open("sessions.dump", session_calls.DumpArgs | None, session_calls.dump, session_calls.DumpOptions),
        _open("sessions.load", session_calls.LoadArgs, session_calls.load, session_calls.LoadOptions),
        _open("sessions.answer", session_calls.AnswerArgs, session_calls.answer),
        _open("sessions.list", None, session_calls.list_),
        _open("sessions.get", session_calls.IdArgs, session_calls.get),
        _open("sessions.delete", session_calls.IdArgs, session_calls.delete),
        _open("sessions.fork", session_calls.ForkArgs, session_calls.fork, session_calls.ForkOptions),
        _open("sessions.trim", session_calls.TrimArgs, session_calls.trim, session_calls.TrimOptions),
        _open("sessions.older", session_calls.OlderArgs, session_calls.older),
        _open("sessions.condense", session_calls.CondenseArgs, session_calls.condense),
        _open("clock.now", None, clock.now),
        _open("clock.sleep", float, clock.sleep),
        _open("request_capability", caps.CapabilityArgs, caps.request_capability),
        _open("caps", None, caps.caps),
        _open("can", caps.CanArgs, caps.can),
        _open("pwd", None, files.pwd),
        _gated("read", files.PathArgs, "fs.read", files.plan_read, files.read),
        _gated("glob", file_search.GlobArgs, "fs.read", file_search.plan_glob, file_search.glob),
        _gated("grep", file_search.GrepArgs, "fs.read", file_search.plan_grep, file_search.grep),
        _gated("scan_dir", file_search.ScanArgs, "fs.read", file_search.plan_scan, file_search.scan_dir),
        _gated("git_info", None, "fs.read", file_search.plan_git, file_search.git_info),
        _gated("write", files.WriteArgs, "fs.write", files.plan_write, files.write),
        _gated("mkdir", files.PathArgs, "fs.write", files.plan_mkdir, files.mkdir),
        _gated("mv", files.MoveArgs, "fs.write", files.plan_mv, files.mv),
        _gated("remove", files.PathArgs, "fs.delete", files.plan_remove, files.remove),
        _gated("exec", exec.ShellArgs, "exec", exec.plan_shell, exec.run),
        _gated("exec_argv", exec.ExecArgs, "exec", exec.plan_argv, exec.run, exec.ExecOptions),
        _gated("http", http.HttpArgs, "http", http.plan, http.request, http.HttpOptions),
        _gated("mcp_servers", mcp.ServersArgs, "mcp", mcp.plan_servers, mcp.servers),
        _gated("mcp_tools", mcp.ServersArgs, "mcp", mcp.plan_servers, mcp.tools),
        _gated("mcp_call", mcp.CallArgs, "mcp", mcp.plan_call, mcp.call),
        _gated("parse_frontmatter", files.PathArgs, "fs.read", files.plan_read, documents.parse_frontmatter),
        _open("frontmatter.parse", documents.TextArgs, documents.frontmatter),
        _open("toml.parse", documents.TextArgs, documents.toml_parse),
        _open("sandbox_eval", evaluate.CodeArgs, evaluate.sandbox_eval),
        _open("uuid", None, evaluate.new_uuid),
        _open("event.emit", events.EventArgs, events.emit),
        _open("event.recent", events.CountArgs, events.recent),
        _open("is_alive", events.NameArgs, events.is_alive),
        _open("request_stop", None, events.request_stop),
        _open("check_command", exec.ShellArgs, exec.check_command),
        _open("module", modules.ModuleArgs, modules.module),
    )
}

QUICK = frozenset(op for op, row in SYSCALLS.items() if not row.waits)
"""Operations that need no grant and no waiting."""


@cache
def _decoder(op: str) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(SYSCALLS[op].shape)


def arguments(op: str, args: msgspec.Raw) -> Any:
    """An operation's arguments, checked. msgspec.ValidationError when a script gave the wrong ones, HostFault when
    no VM would send them: its encoder writes whole values, and texts of valid UTF-8.
    """
    try:
        return _decoder(op).decode(args)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HostFault("arguments that are no value", kind="worker_lied") from None
