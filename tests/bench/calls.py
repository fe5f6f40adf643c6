"""The floor of calls: what one `orcs.llm` costs the host, beside httpx as it comes, the peers, and raw bytes.

All contestants are processes of their own and take turns on one server, a warm-up round first, the same prompt
and answer for all. Before each turn every one makes a call on each connection, unmeasured: httpx closes idle ones
after five seconds, and the others' turns take longer. CPU is that of the contestant's process: for luahost the host, and its workers apart.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from contestants import PEERS
from figures import Contestant, Figure, Report, Server, digits

CAP_S = 20.0
WAITING = 1000

CALLS = 1000
"""Of one round, 100 at a time: the same for all, for the beginning costs pools more than what follows."""

LABELS = {
    "luahost": "luahost, own workers",
    "luahost-shared": "luahost, shared workers",
    "raw": "raw bytes on trio (the limit)",
    "httpx": "bare httpx on trio",
    "openai": "openai SDK on trio",
    "anthropic": "anthropic SDK on trio",
    "litellm": "litellm (asyncio)",
    "pydantic-ai": "pydantic-ai (asyncio)",
}
OURS = ("luahost", "luahost-shared")

TARGETS = (("httpx", 0.2), ("openai", 0.4), ("pydantic-ai", 0.1))


def measure(report: Report, *, quick: bool, peers: str | None) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        names = ["luahost", "luahost-shared", "raw", "httpx"]
        clients = {name: stack.enter_context(Contestant(name, server)) for name in names}
        for name in PEERS if peers else ():
            peer = Contestant(name, server, peers)
            if peer.missing is None:
                clients[name] = stack.enter_context(peer)
        scale = 10 if quick else 1
        _at_a_time(report, clients, at_once=100, rounds=1 if quick else 4, scale=scale)
        _at_a_time(report, clients, at_once=1, rounds=1 if quick else 3, scale=scale * 5)
        if not quick:
            _waiting(report, clients)
        busiest = max(server.shares)
        report.row("the server's CPU, of one core, at most", f"{busiest:.0%}", "< 100 %", busiest < 0.98)


def _at_a_time(report: Report, clients: dict[str, Contestant], *, at_once: int, rounds: int, scale: int) -> None:
    cost: dict[str, list[dict[str, Any]]] = {name: [] for name in clients}
    for turn in range(rounds + 1):
        for name, client in clients.items():
            calls = max(at_once, CALLS // scale)
            said = client.measured(do="calls", model="json-0", calls=calls, at_once=at_once, warm=True)
            _check(report, name, said, f"{at_once} at a time")
            if turn:
                cost[name].append({"host": said["host_s"] / calls * 1e6, "worker": said["worker_s"] / calls * 1e6})
    host = {name: Figure(each["host"] for each in rounds_of) for name, rounds_of in cost.items()}
    for name in OURS:
        report.row(f"{LABELS[name]}: CPU of the host per call, {at_once} at a time", host[name].show("µs"))
        workers = Figure(each["worker"] for each in cost[name])
        report.row("    and of the workers", workers.show("µs"))
    for name in clients:
        if name not in OURS:
            report.row(f"{LABELS[name]}: CPU per call, {at_once} at a time", host[name].show("µs"))
    if at_once == 1:
        return
    ours = "luahost"
    report.row(f"CPU of luahost's host per call ÷ raw bytes, {at_once} at a time", _ratio(host, ours, "raw"))
    for name, most in TARGETS:
        what = f"CPU of luahost's host per call ÷ {LABELS[name]}, {at_once} at a time"
        target = f"≤ {most:g} ×"
        if name in host:
            report.row(what, _ratio(host, ours, name), target, host[ours].median <= most * host[name].median)
        else:
            report.row(what, "not installed: make bench-peers", target)


def _ratio(host: dict[str, Figure], ours: str, other: str) -> str:
    return f"{digits(host[ours].median / host[other].median)} ×"


def _waiting(report: Report, clients: dict[str, Contestant]) -> None:
    """A thousand calls that each wait 200 ms: where pools break down."""
    for name in ("luahost-shared", "raw", "openai", "httpx"):
        if name not in clients:
            continue
        said = clients[name].measured(do="calls", model="json-200", calls=2 * WAITING, at_once=WAITING, cap_s=CAP_S)
        what = f"{LABELS[name]}: CPU per call, {WAITING:,} waiting × 200 ms, 2 each"
        if not said["ended"]:
            report.row(what, f"did not end in {CAP_S:g} s")
        elif said["errors"]:
            report.row(what, f"{said['errors']} of {2 * WAITING} failed: {said['error'][:40]}")
        else:
            report.row(what, f"{digits(said['host_s'] / 2 / WAITING * 1e6)} µs, wall {said['wall_s']:.2f} s of 0.4")
        if name in OURS or name == "raw":
            _check(report, name, said, f"{WAITING} waiting")


def _check(report: Report, name: str, said: dict[str, Any], what: str) -> None:
    report.expect(said["ended"], f"{name}, {what}: did not end")
    report.expect(not said["errors"], f"{name}, {what}: {said['errors']} calls failed, the first: {said['error']}")
