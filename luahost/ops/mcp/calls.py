"""MCP tools for scripts: orcs.mcp_servers, mcp_tools, mcp_call, under the grant `mcp`.

The servers are the operator's, named in the configuration; a script names one and never starts any. What a server
says (descriptions, results) is a stranger's text: it goes to the script and the model as data.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from luahost.errors import WorldError
from luahost.gate.permits import McpAction, Permit
from luahost.gate.policy import judge
from luahost.ops import results
from luahost.ops.results import Result
from luahost.ops.world import Emit, Planned, Share
from luahost.values import is_value, nearest


class ServersArgs(msgspec.Struct, frozen=True):
    server: str | None = None


class CallArgs(msgspec.Struct, frozen=True):
    server: str
    tool: str
    args: dict[str, Any] = {}


McpPermit = Permit[McpAction]


def plan_servers(share: Share, args: ServersArgs) -> Planned | Result:
    return _plan(share, args.server, None, costs=False)


def plan_call(share: Share, args: CallArgs) -> Planned | Result:
    return _plan(share, args.server, args.tool, costs=True)


def _plan(share: Share, server: str | None, tool: str | None, *, costs: bool) -> Planned | Result:
    known = share.world.mcp.servers
    if server is not None and server not in known:
        names = ", ".join(known) or "none is configured"
        wanted = f"one of the configured servers ({names}) expected, got {server[:80]!r}{nearest(server, known)}"
        return results.invalid("server", wanted)
    return Planned(action=McpAction(server=server, tool=tool, costs=costs))


def wish(share: Share, detail: dict[str, Any]) -> McpAction | Result:
    """What orcs.can("mcp", {server, tool}) asks about."""
    server, tool = detail.get("server"), detail.get("tool")
    for name, value in (("server", server), ("tool", tool)):
        if value is not None and not isinstance(value, str):
            return results.invalid(name, "a text expected")
    return McpAction(server=server, tool=tool, costs=tool is not None)


def _allowed(permit: McpPermit, share: Share, server: str, tool: str | None = None) -> bool:
    action = McpAction(server=server, tool=tool, costs=False)
    return judge(permit.grant, action, share.world.monotonic_s()) is None


async def servers(
    permit: McpPermit, planned: Planned, args: ServersArgs, share: Share, emit: Emit | None
) -> Result:
    """{ok, servers=[{name}]}: those that the grant allows."""
    names = [name for name in share.world.mcp.servers if _allowed(permit, share, name)]
    return {"ok": True, "servers": [{"name": name} for name in names]}


async def tools(permit: McpPermit, planned: Planned, args: ServersArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, tools=[{name, server, tool, description, parameters}]}: those that the grant allows."""
    mcp, found = share.world.mcp, list[dict[str, Any]]()
    for name in [args.server] if args.server is not None else list(mcp.servers):
        if not _allowed(permit, share, name):
            continue
        try:
            listed = await mcp.tools(name)
        except WorldError as error:
            return {**results.from_world(error), "server": name}
        found += [
            {"name": f"mcp__{name}__{tool['tool']}", "server": name, **tool}
            for tool in listed
            if is_value(tool) and _allowed(permit, share, name, tool["tool"])
        ]
    return {"ok": True, "tools": found}


async def call(permit: McpPermit, planned: Planned, args: CallArgs, share: Share, emit: Emit | None) -> Result:
    """{ok, content, structured?, images?}; a tool that failed is {ok=false, error_kind="tool_error"}."""
    permit.reached()
    try:
        answer = await share.world.mcp.call(args.server, args.tool, args.args)
    except WorldError as error:
        return results.from_world(error)
    texts = [part.text for part in answer.content if part.type == "text"]
    if answer.is_error:
        return results.error("tool_error", "\n".join(texts)[:4000] or "the tool failed without a word")
    told: Result = {"ok": True, "content": "\n".join(texts)}
    if answer.structured_content is not None:
        told["structured"] = answer.structured_content
    try:
        images = [
            {"media_type": part.mime_type, "data": base64.b64decode("".join(part.data.split()), validate=True)}
            for part in answer.content
            if part.type == "image"
        ]
    except ValueError:
        return _odd(args.server, "an image that is no base64")
    if not is_value(told):
        return _odd(args.server, "a value that Lua has no form for")
    return {**told, "images": images} if images else told


def _odd(server: str, what: str) -> Result:
    return results.error("invalid_response", f"the MCP server {server!r} answered with {what}")
