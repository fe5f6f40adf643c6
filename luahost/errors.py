"""The errors of luahost, sorted by who must act.

    LuahostError
    ├── ScriptError    the script's author: it raised, returned nonsense, or does not compile
    ├── Denied         the operator: no grant, or a grant that does not reach; says which grant would
    ├── Exhausted      the operator: a limit or a budget is used up; says which
    ├── Stopped        nobody: cancel, revoke, deadline, shutdown
    ├── WorldError     outside: a server, a network, a file; `retryable`, `retry_after_s`
    ├── ConfigError    the person who wrote the configuration, the grant or the command line
    └── HostFault      us: a bug in luahost, or a worker that broke

Foreign exceptions are mapped to these once per boundary, where they enter. Nothing below this file.
"""

from __future__ import annotations


class LuahostError(Exception):
    """Base of all. `kind` is the word scripts see as `error_kind`; `message` is one clear line."""

    default_kind = "internal"

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind


class ScriptError(LuahostError):
    """The script failed. `where` is `script:line` or "", `traceback` is Lua's, without our own frames."""

    default_kind = "script_error"

    def __init__(self, message: str, *, where: str = "", traceback: str = "", kind: str | None = None) -> None:
        super().__init__(message, kind=kind)
        self.where = where
        self.traceback = traceback


class Denied(LuahostError):
    """A call was refused and the script ended because of it. `grant` is grant text that would allow it."""

    default_kind = "permission_denied"

    def __init__(self, message: str, *, kind: str | None = None, grant: str = "", where: str = "") -> None:
        super().__init__(message, kind=kind)
        self.grant = grant
        self.where = where


class Exhausted(LuahostError):
    """A limit or a budget is used up. `limit` names it ("memory_bytes", "cpu_s", "max_calls" …)."""

    default_kind = "exhausted"

    def __init__(self, message: str, *, limit: str, kind: str | None = None, where: str = "") -> None:
        super().__init__(message, kind=kind)
        self.limit = limit
        self.where = where


class Stopped(LuahostError):
    """The run was ended from outside: `kind` is cancelled, deadline_exceeded, aborted or closed."""

    default_kind = "cancelled"


class WorldError(LuahostError):
    """Something outside failed. `retry_after_s` is what the server asked for, if it did; `phase` is where it
    happened: connect (nothing was sent), first_token, idle, overall, or "". `where` is the script's line, or "".
    """

    default_kind = "network"

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        phase: str = "",
        where: str = "",
    ) -> None:
        super().__init__(message, kind=kind)
        self.phase = phase
        self.where = where
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class ConfigError(LuahostError, ValueError):
    """A configuration, a grant text or an argument is wrong; the message names what would fix it."""

    default_kind = "invalid_config"


class HostFault(LuahostError):
    """A bug of luahost, or a worker that crashed or lied in its frames."""

    default_kind = "internal"
