"""The proof that an act was allowed. A function that touches the world takes one as its first argument.

Only the gate makes permits (policy.decide); there is nothing in a worker or a script from which one could be
made. A permit is good for the one act it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from luahost.gate import paths
from luahost.gate.grants import Grant
from luahost.gate.hosts import Origin
from luahost.gate.ledger import ONE_CALL, Reservation

_SEAL = object()


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An act a script asks for, as the gate judges it. Each kind of grant has a struct of its own below this."""

    @property
    def kind(self) -> str:
        """The kind of grant it needs."""
        raise NotImplementedError

    @property
    def asks(self) -> Mapping[str, int]:
        """What is reserved of each dimension; empty: it takes nothing of a budget, and no place."""
        return ONE_CALL

    def about(self) -> dict[str, Any]:
        """What it is about, in the words of the audit and of a refusal's detail."""
        raise NotImplementedError

    def likeness(self) -> tuple[Any, ...]:
        """What two acts have in common that an approval for a time allows both."""
        return tuple(sorted((name, str(value)) for name, value in self.about().items()))


class LlmAction(Action, frozen=True, kw_only=True):
    """Where a call would go, and what it would use at most."""

    provider: str
    model: str | None  # None: no model is used, as for a ping
    origin: Origin
    own_base_url: bool  # the script named the URL itself
    input_tokens: int = 0  # an estimate
    output_tokens: int = 0  # the answer's limit
    cost_microusd: int | None = 0  # of both; None: no price is known
    costs: bool = True  # False: a ping, which takes no call from the budget
    streams: bool = False
    tools: tuple[str, ...] = ()  # names on offer
    tool_turns: int = 0  # rounds of tool results in a row, with this one
    extra: tuple[str, ...] = ()  # names in extra_body and extra_headers

    @property
    def kind(self) -> str:
        return "llm"

    @property
    def asks(self) -> Mapping[str, int]:
        if not self.costs:
            return {}
        return {
            "calls": 1,
            "tokens": self.input_tokens + self.output_tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_microusd or 0,
        }

    def about(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model, "host": str(self.origin)}


class FileAction(Action, frozen=True, kw_only=True):
    """A file or directory to be reached. `path` is absolute and without dots; `start` is the host's directory,
    `home` the script's, where `require` finds its modules, links resolved.
    """

    of: str  # fs.read | fs.write | fs.delete
    path: str
    start: str
    real: str | None = None  # the same with the root's own links resolved, once a walk has found them out
    size: int = 0  # bytes that will be written
    home: str | None = None
    is_base: bool = False  # a directory that is searched: what is found in it is judged one by one

    @property
    def kind(self) -> str:
        return self.of

    @property
    def is_code(self) -> bool:
        """Whether it is something that `require` of this script would run."""
        real = self.real if self.real is not None else self.path
        return self.home is not None and real.endswith(".lua") and paths.beneath(real, self.home) is not None

    @property
    def asks(self) -> Mapping[str, int]:
        return {"calls": 1, "bytes": self.size}

    def about(self) -> dict[str, Any]:
        return {"path": self.path}


class ExecAction(Action, frozen=True, kw_only=True):
    """A program to be run. `argv` is what it is, with the shell's own where `shell`; `path` where it is started."""

    argv: tuple[str, ...]
    text: str | None  # what the shell is given; None: no shell
    path: str
    start: str  # the host's directory

    @property
    def kind(self) -> str:
        return "exec"

    def about(self) -> dict[str, Any]:
        return {"program": self.argv[0], "path": self.path}

    def likeness(self) -> tuple[Any, ...]:
        return (*super().likeness(), self.argv)  # of an interpreter, the program says nothing


class HttpAction(Action, frozen=True, kw_only=True):
    """A request: its method, where it goes, and what it asks for (path and query)."""

    method: str
    origin: Origin
    target: str

    @property
    def kind(self) -> str:
        return "http"

    @property
    def url_path(self) -> str:
        return self.target.partition("?")[0]

    def about(self) -> dict[str, Any]:
        return {"host": str(self.origin), "path": self.url_path, "method": self.method}


class SpawnAction(Action, frozen=True, kw_only=True):
    """A child that a VM would have: where it would stand, and what it would hold."""

    child: str  # its path
    depth: int
    siblings: int  # living children of its parent
    tree: int  # living VMs below the root
    kinds: tuple[str, ...]
    what: str = ""  # a hash of what it would run, and of how its rights are narrowed

    @property
    def kind(self) -> str:
        return "spawn"

    def about(self) -> dict[str, Any]:
        return {"child": self.child}

    def likeness(self) -> tuple[Any, ...]:
        return (*super().likeness(), self.kinds, self.what)


class McpAction(Action, frozen=True, kw_only=True):
    """A call of a tool of an MCP server; without a tool, or a server, the asking which there are."""

    server: str | None
    tool: str | None
    costs: bool

    @property
    def kind(self) -> str:
        return "mcp"

    @property
    def asks(self) -> Mapping[str, int]:
        return ONE_CALL if self.costs else {}

    def about(self) -> dict[str, Any]:
        return {"server": self.server, "tool": self.tool}


A = TypeVar("A", bound=Action)


class Permit(Generic[A]):
    """One allowed act, and the reservation it runs on. `also`: those of the call's further actions."""

    __slots__ = ("action", "also", "grant", "reservation")

    def __init__(self, seal: object, grant: Grant, action: A, reservation: Reservation) -> None:
        if seal is not _SEAL:
            raise TypeError("only the gate makes permits")
        self.grant, self.action, self.reservation = grant, action, reservation
        self.also: tuple[Permit[Any], ...] = ()

    def reached(self) -> None:
        """The act is about to reach the world: from here on it counts, whatever comes of it."""
        self.reservation.reached()

    def settle(self, **used: int) -> None:
        """The act reached the world, and used so much beside the one call. What is said after it counts no more."""
        self.reservation.settle(**used)

    def release(self) -> None:
        """The act did not reach the world."""
        self.reservation.release()
