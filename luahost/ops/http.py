"""orcs.http(method, url, opts): a request to a server that the grant reaches, and its answer as bytes.

The transport resolves the name once, checks every address and connects to the one that was checked. Nothing of the
host's goes along: no cookie, no proxy of the environment, no key. A redirect is a new request, judged before it is
sent, and what the script sent to one server (a token, a cookie) does not go on to another.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

import msgspec
import trio

from luahost.errors import ConfigError, WorldError
from luahost.gate import constraints, hosts
from luahost.gate.hosts import names, parse_url
from luahost.gate.permits import HttpAction, Permit
from luahost.gate.policy import judge
from luahost.gate.sorts import METHODS
from luahost.ops import results
from luahost.ops.approval import must_ask
from luahost.ops.results import Result, as_text
from luahost.ops.world import Emit, Planned, Share
from luahost.room import Part

ABSENT = constraints.ABSENT["http"]
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024

_REDIRECTS = (301, 302, 303, 307, 308)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\t -~]*")
# What the connection is made of: the transport's own.
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
    )
)
_STAYS = frozenset(("accept", "accept-language", "user-agent"))
"""What goes on to another server when a redirect leads there."""


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """opts of orcs.http; `timeout` in seconds."""

    headers: dict[str, str] = {}
    body: Any = None  # str, or bytes where it is not UTF-8
    timeout: float | None = None


class HttpArgs(msgspec.Struct, frozen=True):
    method: str
    url: str
    opts: HttpOptions = HttpOptions()


class HttpPlan(Planned, frozen=True, kw_only=True):
    action: HttpAction
    headers: dict[str, str]
    body: bytes | None
    timeout_s: float | None


def plan(share: Share, args: HttpArgs) -> HttpPlan | Result:
    opts = args.opts
    action = _action(args.method, args.url)
    if isinstance(action, dict):
        return action
    problem = _headers_problem(opts.headers)
    if problem is not None:
        return problem
    if opts.body is not None and not isinstance(opts.body, str | bytes):
        return results.invalid("body", "a text expected")
    if opts.body is not None and len(opts.body) > MAX_BODY_BYTES:
        return results.invalid("body", f"at most {MAX_BODY_BYTES} bytes expected")
    if opts.timeout is not None and not 0 < opts.timeout <= 86_400:
        return results.invalid("timeout", "seconds above 0, at most a day, expected")
    body = opts.body.encode() if isinstance(opts.body, str) else opts.body
    headers = {name.lower(): value for name, value in opts.headers.items()}
    return HttpPlan(action=action, headers=headers, body=body, timeout_s=opts.timeout)


def _action(method: str, url: str) -> HttpAction | Result:
    if method.upper() not in METHODS:
        known = ", ".join(METHODS)
        return results.error(
            "invalid_method", f"method: one of {known} expected, got {method[:20]!r}", field="method"
        )
    try:
        origin, target = parse_url(url)
    except ConfigError as error:
        return results.error("invalid_url", error.message, field="url")
    return HttpAction(method=method.upper(), origin=origin, target=target)


def _headers_problem(headers: dict[str, str]) -> Result | None:
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        most = f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all expected"
        return results.invalid("headers", most)
    for name, value in headers.items():
        where = f"headers.{name[:80]}"
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return results.invalid(where, "a name and a value of plain characters, without line ends, expected")
        if name.lower() in _OURS or name.lower().startswith(("proxy-", "sec-")):
            return results.invalid(where, "this header is the transport's own; leave it out")
    return None


def wish(share: Share, detail: dict[str, Any]) -> HttpAction | Result:
    """What orcs.can("http", {url, method}) asks about."""
    method, url = detail.get("method", "GET"), detail.get("url")
    if not isinstance(method, str) or not isinstance(url, str):
        return results.invalid("url", "url = a text expected")
    return _action(method, url)


class _Held:
    """What the grants of the chain say together: the narrowest of each."""

    def __init__(self, permit: Permit[HttpAction], plan: HttpPlan) -> None:
        self._grant = permit.grant
        times = self._grant.said("timeout_s") or [ABSENT["timeout_s"]]
        self.timeout_s = min(*times, plan.timeout_s if plan.timeout_s is not None else times[0])
        self.response_bytes = min(self._grant.said("max_response_bytes"), default=ABSENT["max_response_bytes"])
        self.redirects = min(self._grant.said("max_redirects"), default=ABSENT["max_redirects"])
        if must_ask(self._grant):
            self.redirects = 0  # where a redirect leads nobody has approved: the script asks for it itself

    def may_be_private(self, action: HttpAction) -> bool:
        """All that say anything about it allow it, or each names this very address: the operator's own grant too,
        as a list below one that has none narrows, and adds none."""
        said, lists = self._grant.said("allow_private"), self._grant.said("hosts")
        if said and all(said):
            return True
        own: tuple[str, ...] | None = self._grant.operators("hosts")
        return action.origin.is_literal and own is not None and all(names(each, action.origin) for each in lists)


async def request(
    permit: Permit[HttpAction], planned: HttpPlan, args: HttpArgs, share: Share, emit: Emit | None
) -> Result:
    """{ok, status, headers, all_headers, body, url, redirects}; ok for any status that a server answered."""
    with share.room.part() as part:
        answer = await _request(permit, planned, share, part)
        await share.caught_up()  # what was brought goes on to the script before there is room for more
        await share.turn()
        return answer


async def _request(permit: Permit[HttpAction], planned: HttpPlan, share: Share, part: Part) -> Result:
    held, action = _Held(permit, planned), permit.action
    headers, body, hops = dict(planned.headers), planned.body, 0
    try:
        with trio.fail_after(held.timeout_s):
            while True:
                answer = await _once(permit, action, headers, body, held, share, part)
                onward = _redirect(answer, action) if hops < held.redirects else None
                if onward is None:
                    return {"ok": True, **answer, "url": f"{action.origin}{action.target}", "redirects": hops}
                refusal = judge(permit.grant, onward, share.world.monotonic_s())
                if refusal is not None:
                    return results.refused("http", refusal, **onward.about())
                if onward.method != action.method:
                    body = None
                    headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
                if onward.origin != action.origin:
                    headers = {name: value for name, value in headers.items() if name in _STAYS}
                action, hops = onward, hops + 1
    except ConfigError as error:
        return results.error("invalid_url", f"redirect: {error.message}")
    except WorldError as error:
        failed = results.from_world(error)
        if error.kind == "host_not_allowed":  # an address that nobody named; a name may stand for others tomorrow
            named = f"hosts={hosts.entry(action.origin)}" if action.origin.is_literal else "allow_private=true"
            failed["detail"] |= {"capability": "http", "rule": "allow_private", "grant": f"http:{named}"}
        return failed
    except trio.TooSlowError:
        return results.error(
            "timeout", f"no whole answer within {held.timeout_s:g} s", retryable=True, phase="overall"
        )


async def _once(  # noqa: PLR0917 - one request
    permit: Permit[HttpAction],
    action: HttpAction,
    headers: dict[str, str],
    body: bytes | None,
    held: _Held,
    share: Share,
    part: Part,
) -> Result:
    client = await share.world.client()
    async with client.open(
        action.method,
        action.origin,
        action.target,
        headers,
        body,
        connect_timeout_s=held.timeout_s,
        may_be_private=held.may_be_private(action),
        owner=share.owner,
        on_connected=lambda _: permit.reached(),
    ) as answer:
        content = bytearray()
        while (piece := await answer.receive()) is not None:
            content += piece
            if len(content) > held.response_bytes:
                raise WorldError(f"the answer is larger than {held.response_bytes} bytes", kind="too_large")
            if not part.take(len(piece)):
                raise WorldError(part.refusal, kind="too_large")
        repeated: dict[str, list[str]] = {}
        for name, value in answer.all_headers:
            repeated.setdefault(name, []).append(value)
        return {
            "status": answer.status,
            "headers": {
                name: values[-1] if name == "set-cookie" else ", ".join(values) for name, values in repeated.items()
            },
            "all_headers": repeated,
            "body": as_text(bytes(content)),
        }


def _redirect(answer: Result, action: HttpAction) -> HttpAction | None:
    """The request that an answer asks for instead; ConfigError when it leads to no URL of ours."""
    place = answer["all_headers"].get("location")
    if answer["status"] not in _REDIRECTS or not place:
        return None
    origin, target = parse_url(urljoin(f"{action.origin}{action.target}", place[0].strip()))
    to_get = answer["status"] == 303 or (answer["status"] in (301, 302) and action.method == "POST")
    method = "GET" if to_get and action.method != "HEAD" else action.method
    return HttpAction(method=method, origin=origin, target=target)
