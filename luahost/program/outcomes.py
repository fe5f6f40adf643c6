"""What came of an activation: the script's answer, or the error that says who must act.

A script that fails with the text of a refusal is ended by that refusal, if this activation really received it:
a script cannot make one up.
"""

from __future__ import annotations

import re

from luahost.errors import Denied, Exhausted, HostFault, LuahostError, ScriptError, Stopped, WorldError
from luahost.ops.results import Result
from luahost.values import Value, shown
from luahost.vm import protocol

_RESPONSE = {"success", "data", "error"}


def is_response(result: Value, *, needs_success: bool) -> bool:
    """Whether a script answered in the upstream's form, {success, data, error}."""
    if not isinstance(result, dict) or not result:
        return False
    says = isinstance(result.get("success"), bool)
    if says and ("data" in result or "error" in result):
        return True  # whatever else is in it is nobody's, as in the upstream
    return result.keys() <= _RESPONSE and (says or not needs_success)


def unwrapped(result: dict[str, Value]) -> Value:
    if result.get("success", "error" not in result) is False:
        raise ScriptError(str(result.get("error", "the script answered success=false")))
    return result.get("data")


_DENIED = {
    "permission_denied",
    "capability_expired",
    "capability_revoked",
    "capability_widening",
    "model_not_allowed",
    "host_not_allowed",
    "path_not_allowed",
    "tool_not_allowed",
    "approval_denied",
    "approval_timeout",
}
_EXHAUSTED = {"budget_exceeded", "concurrency_limit", "max_children_reached", "max_depth_reached"}
_OURS_OR_THE_SCRIPTS = {
    "invalid_options",
    "session_busy",
    "not_found_operation",
    "internal",
    "execution_failed",
    "invalid_input",
    "invalid_script",
    "script_not_found",
    "already_exists",
    "child_not_found",
    "not_runnable",
    "aborted",
    "closed",
}
_POSITION = re.compile(r"([^\s:]+:\d+):")


def error_of_no(no: Result, where: str = "") -> LuahostError | None:
    """The error that a failed call's result stands for; None when the script itself is to blame."""
    kind, message, detail = no.get("error_kind", ""), str(no.get("error", "")), no.get("detail") or {}
    if kind in _DENIED:
        return Denied(message, kind=kind, grant=str(detail.get("grant", "")), where=where)
    if kind in _EXHAUSTED:
        return Exhausted(message, kind=kind, limit=str(detail.get("rule", "")), where=where)
    if kind in _OURS_OR_THE_SCRIPTS or not kind:
        return None
    return WorldError(
        message,
        kind=kind,
        retryable=no.get("retryable") is True,
        retry_after_s=detail.get("retry_after_s"),
        phase=str(detail.get("phase", "")),
        where=where,
    )


def error_of(failed: protocol.Failed, noes: list[Result]) -> LuahostError:
    kind, message, where, trace = (
        text.decode(errors="replace") for text in (failed.kind, failed.message, failed.where, failed.traceback)
    )
    message, trace = shown(message), shown(trace)
    if kind in ("cpu", "memory"):
        limit = "cpu_s" if kind == "cpu" else "memory_bytes"
        return Exhausted(message, limit=limit, where=where)
    if kind == "broken":
        return HostFault(message, kind="worker_lost")
    if kind == "killed":
        return Stopped(message)
    for no in reversed(noes):
        text = shown(str(no.get("error", "")))
        if text and text in message:
            error = error_of_no(no, where)
            if error is not None:
                return error
            break
    if not where:
        found = _POSITION.match(message)
        where = found[1] if found else ""
    error_kind = failed.error_kind.decode(errors="replace")
    kind = error_kind if error_kind in ("syntax_error", "not_runnable") else kind
    return ScriptError(message, where=where, traceback=trace, kind=kind)
