"""luahost: runs agent scripts written in Lua in sandboxed VMs, and lets each do only what it was granted.

    import luahost
    luahost.run("agent.lua", {"text": "…"}, grants=[luahost.Grant.llm(max_calls=3)])

Everything public is here. Importing this costs nothing: trio and httpx come with the first use.

The floors; imports only go down:

    entry     cli/  host  config  testing/
    program/  a loaded script as Python sees it: calls, signals, children, its end
    bridge/   THE table of what scripts can ask for, the way of each call, the audit
    world     ops/ (the acts, by capability)  transport/ (HTTP)  workers/ (the processes, from outside)
              pace (how long a pass of the event loop may take)
    engines   vm/ (Lua)  gate/ (grants)  wire/ (model servers); pure, and each knows only itself
    words     values  standing  parts  room  garbage (when Python looks for it)  errors

worker/ is the other program: what runs inside the processes. The Lua that every VM boots from is in lua/.
"""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers, which know the name; typing itself is large, and workers need none of it

if TYPE_CHECKING:
    from typing import Any

    from luahost.config import Config
    from luahost.errors import (
        ConfigError,
        Denied,
        Exhausted,
        HostFault,
        LuahostError,
        ScriptError,
        Stopped,
        WorldError,
    )
    from luahost.gate.grants import Grant
    from luahost.host import Host, run
    from luahost.ops.approval import AllowFor, AllowOnce, ApprovalRequest, Deny
    from luahost.ops.llm.providers import Provider
    from luahost.program.vm import Vm
    from luahost.values import Limits, Source

__version__ = "0.1.0"

_HOME = {
    "AllowFor": "ops.approval",
    "AllowOnce": "ops.approval",
    "ApprovalRequest": "ops.approval",
    "Config": "config",
    "ConfigError": "errors",
    "Denied": "errors",
    "Deny": "ops.approval",
    "Exhausted": "errors",
    "Grant": "gate.grants",
    "Host": "host",
    "HostFault": "errors",
    "Limits": "values",
    "LuahostError": "errors",
    "Provider": "ops.llm.providers",
    "ScriptError": "errors",
    "Source": "values",
    "Stopped": "errors",
    "Vm": "program.vm",
    "WorldError": "errors",
    "run": "host",
}

__all__ = [
    "AllowFor",
    "AllowOnce",
    "ApprovalRequest",
    "Config",
    "ConfigError",
    "Denied",
    "Deny",
    "Exhausted",
    "Grant",
    "Host",
    "HostFault",
    "Limits",
    "LuahostError",
    "Provider",
    "ScriptError",
    "Source",
    "Stopped",
    "Vm",
    "WorldError",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'luahost' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"luahost.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
