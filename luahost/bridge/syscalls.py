"""THE table: every operation a VM can ask for, what its arguments look like, and which grant it needs.

A row without a capability is answered for every script. A row with one is answered by the deny stub until a
grant of that kind puts the act in its place (ladder.py). Nothing that is not in this table happens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from luahost.errors import HostFault
from luahost.ops import approval, caps, clock, documents, evaluate, events, exec, http, modules
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


def _known(shape: type[msgspec.Struct]) -> tuple[str, ...]:
    return shape.__struct_fields__


def _gated(  # noqa: PLR0917 - a row of the table
    op: str,
    shape: Any,
    kind: str,
    plan: Callable[..., Any],
    act: Callable[..., Any],
    options: type[msgspec.Struct] | None = None,
) -> Syscall:
    names = _known(options or shape) if shape is not None else ()
    return Syscall(op=op, shape=shape, capability=kind, plan=plan, act=act, options=names)


SYSCALLS: dict[str, Syscall] = {
    row.op: row
    for row in (
        Syscall(
            op="llm",
            shape=llm_options.LlmArgs,
            capability="llm",
            plan=llm_plan.plan,
            act=llm.complete,
            options=llm_options.KNOWN,
        ),
        _gated("llm_ping", llm_options.PingArgs, "llm", llm_plan.plan_ping, ping.ping, llm_options.PingOptions),
        _gated("llm_models", llm_options.PingArgs, "llm", llm_plan.plan_ping, ping.models, llm_options.PingOptions),
        _gated("spawn_child", spawning.SpawnArgs, "spawn", spawning.plan, spawning.spawn),
        Syscall(op="child.send", shape=children.MessageArgs, act=children.send),
        Syscall(op="child.run", shape=children.MessageArgs, act=children.run),
        Syscall(op="child.batch", shape=children.BatchArgs, act=children.batch),
        Syscall(op="child.send_async", shape=children.MessageArgs, act=children.send_async),
        Syscall(
            op="child.result",
            shape=children.TicketArgs,
            act=children.result,
            options=_known(children.TicketOptions),
        ),
        Syscall(
            op="child.request",
            shape=children.RequestArgs,
            act=children.request,
            options=_known(children.RequestOptions),
        ),
        Syscall(
            op="child.request_batch",
            shape=children.RequestBatchArgs,
            act=children.request_batch,
            options=_known(children.BatchedRequest),
        ),
        Syscall(op="child.signal", shape=children.SignalArgs, act=children.signal),
        Syscall(op="child.snapshot", shape=children.ChildArgs, act=children.snapshot),
        Syscall(op="child.cancel", shape=children.ChildArgs, act=children.cancel),
        Syscall(op="child.close", shape=children.ChildArgs, act=children.close),
        Syscall(op="child.revoke", shape=children.RevokeArgs, act=children.revoke),
        Syscall(op="child.status", shape=children.ChildArgs, act=children.status),
        Syscall(op="child.usage", shape=children.ChildArgs, act=children.usage),
        Syscall(op="child.list", shape=None, act=children.listed),
        Syscall(op="child.count", shape=None, act=children.counted),
        Syscall(
            op="sessions.dump",
            shape=session_calls.DumpArgs | None,
            act=session_calls.dump,
            options=_known(session_calls.DumpOptions),
        ),
        Syscall(
            op="sessions.load",
            shape=session_calls.LoadArgs,
            act=session_calls.load,
            options=_known(session_calls.LoadOptions),
        ),
        Syscall(op="sessions.answer", shape=session_calls.AnswerArgs, act=session_calls.answer),
        Syscall(op="sessions.list", shape=None, act=session_calls.list_),
        Syscall(op="sessions.get", shape=session_calls.IdArgs, act=session_calls.get),
        Syscall(op="sessions.delete", shape=session_calls.IdArgs, act=session_calls.delete),
        Syscall(
            op="sessions.fork",
            shape=session_calls.ForkArgs,
            act=session_calls.fork,
            options=_known(session_calls.ForkOptions),
        ),
        Syscall(
            op="sessions.trim",
            shape=session_calls.TrimArgs,
            act=session_calls.trim,
            options=_known(session_calls.TrimOptions),
        ),
        Syscall(op="sessions.older", shape=session_calls.OlderArgs, act=session_calls.older),
        Syscall(op="sessions.condense", shape=session_calls.CondenseArgs, act=session_calls.condense),
        Syscall(op="clock.now", shape=None, act=clock.now),
        Syscall(op="clock.sleep", shape=float, act=clock.sleep),
        Syscall(op="request_capability", shape=approval.CapabilityArgs, act=approval.request_capability),
        Syscall(op="caps", shape=None, act=caps.caps),
        Syscall(op="can", shape=caps.CanArgs, act=caps.can),
        Syscall(op="pwd", shape=None, act=files.pwd),
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
        Syscall(op="frontmatter.parse", shape=documents.TextArgs, act=documents.frontmatter),
        Syscall(op="toml.parse", shape=documents.TextArgs, act=documents.toml_parse),
        Syscall(op="sandbox_eval", shape=evaluate.CodeArgs, act=evaluate.sandbox_eval),
        Syscall(op="uuid", shape=None, act=evaluate.new_uuid),
        Syscall(op="event.emit", shape=events.EventArgs, act=events.emit),
        Syscall(op="event.recent", shape=events.CountArgs, act=events.recent),
        Syscall(op="is_alive", shape=events.NameArgs, act=events.is_alive),
        Syscall(op="request_stop", shape=None, act=events.request_stop),
        Syscall(op="check_command", shape=exec.ShellArgs, act=exec.check_command),
        Syscall(op="module", shape=modules.ModuleArgs, act=modules.module),
    )
}

QUICK = frozenset(op for op, row in SYSCALLS.items() if not row.waits)
"""Operations that need no grant and no waiting."""

DECODERS = {op: msgspec.msgpack.Decoder(row.shape) for op, row in SYSCALLS.items()}


def arguments(op: str, args: msgspec.Raw) -> Any:
    """An operation's arguments, checked. msgspec.ValidationError when a script gave the wrong ones, HostFault when
    no VM would send them: its encoder writes whole values, and texts of valid UTF-8.
    """
    try:
        return DECODERS[op].decode(args)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HostFault("arguments that are no value", kind="worker_lied") from None
