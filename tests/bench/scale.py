"""The floor of scale: thousands of agents at once, each a VM with a script that calls a model and waits.

The host is a process of its own (contestants.py); its memory is looked at from here while all are waiting:
host, zygote and workers, what they share counted once (PSS).
"""

from __future__ import annotations

from typing import Any

from figures import Contestant, Figure, Report, Server, descendants, digits, share_bytes

IDEAL_S = 0.4


def measure(report: Report, *, quick: bool) -> None:
    with Server() as server:
        _five_thousand(report, server, 500 if quick else 5000)
        _waiting(report, server, 1000 if quick else 10_000, quick=quick)
        _own_workers(report, server, 50 if quick else 1000)
        report.row(
            "the server's CPU, of one core, at most",
            f"{max(server.shares):.0%}",
            "< 100 %",
            max(server.shares) < 0.98,
        )


def _agents(report: Report, client: Contestant, server: Server, what: str, **command: Any) -> dict[str, Any]:
    """The answer, with `bytes` of memory taken while the agents waited, if they do."""
    server.begin()
    said = client.ask(do="agents", **command)
    weight = 0
    if said.get("now") == "waiting":
        weight = sum(map(share_bytes, [client.pid, *descendants(client.pid)]))
        said = client.hear()
    server.end()
    for each in (said, *said["again"]):
        report.expect(not each["errors"], f"{what}: {each['errors']} agents failed, the first: {each['error']}")
    return said | {"bytes": weight}


def _per_call(said: dict[str, Any], calls: int, whose: str = "host_s") -> float:
    return said[whose] / calls


def _five_thousand(report: Report, server: Server, agents: int) -> None:
    """Beside 100 agents that do the same, before and after."""
    few, times = 100, 4
    wait = {"model": "json-200", "calls": 2, "spread_s": 0, "wait_s": 0}
    of_few: list[float] = []

    def a_few() -> None:
        with Contestant("luahost-shared", server) as client:
            said = _agents(report, client, server, f"{few} agents", agents=few, again=times, **wait)
        of_few.extend(_per_call(each, 2 * few) for each in said["again"])

    a_few()
    with Contestant("luahost-shared", server) as client:
        many = _agents(report, client, server, f"{agents} agents", agents=agents, again=0, **wait)
    a_few()
    what = f"{agents:,} agents (shared workers) × 2 calls of 200 ms"
    report.row(f"{what}: failed", f"{many['errors']} agents", "0 agents", not many["errors"])
    times_ideal = many["wall_s"] / IDEAL_S
    report.row(
        "    wall ÷ ideal",
        f"{digits(times_ideal)} × ({many['wall_s']:.2f} s ÷ {IDEAL_S} s)",
        "≤ 5 ×",
        times_ideal <= 5,
    )
    each, base = _per_call(many, 2 * agents), Figure(of_few)
    ratio = each / base.median
    report.row(
        f"    CPU of the host per call ÷ that of {few} agents", f"{digits(ratio)} ×", "≤ 1.5 ×", ratio <= 1.5
    )
    report.row("    CPU of the host per call", f"{digits(each * 1e6)} µs")
    report.row(f"    CPU of the host per call with {few} agents", base.show("µs", 1e6))
    report.row("    CPU of the workers per call", f"{digits(_per_call(many, 2 * agents, 'worker_s') * 1e6)} µs")
    report.row("    loading them, by the wall clock", f"{digits(many['load_s'] / agents * 1e3)} ms each")
    report.row("    closing them, by the wall clock", f"{digits(many['close_s'] / agents * 1e3)} ms each")


def _waiting(report: Report, server: Server, agents: int, *, quick: bool) -> None:
    """They come within nearly the time they wait, so that all wait at once; then again, all in the same instant."""
    wait_s = 1 if quick else 5
    with Contestant("luahost-shared", server) as client:
        spread = {"model": f"json-{wait_s * 1000}", "calls": 1, "spread_s": 0.9 * wait_s, "wait_s": 0.05 * wait_s}
        said = _agents(
            report, client, server, f"{agents} waiting", agents=agents, again=0 if quick else 1, **spread
        )
    what = f"{agents:,} agents (shared workers) waiting {wait_s} s, started over {0.9 * wait_s:g} s"
    report.row(f"{what}: failed", f"{said['errors']} agents", "0 agents", not said["errors"])
    enough = quick or said["waiting"] >= 0.95 * agents
    report.row("    waiting at once", f"{said['waiting']:,} agents", f"{agents:,} agents", enough)
    report.row(
        "    memory of host and workers", f"{digits(said['bytes'] / 1e6)} MB", "≤ 1,000 MB", said["bytes"] <= 1e9
    )
    report.row("    each", f"{digits(said['bytes'] / agents / 1024)} KB")
    late = f"{digits(said['late_p99_s'] * 1e3)} ms, at most {digits(said['late_max_s'] * 1e3)} ms"
    report.row("    the loop is late, p99", late, "≤ 50 ms", said["late_p99_s"] <= 0.05)
    report.row("    CPU of the host each", f"{digits(said['host_s'] / agents * 1e6)} µs")
    for burst in said["again"]:
        what = f"{agents:,} started in the same instant: failed"
        report.row(what, f"{burst['errors']} agents", "0 agents", not burst["errors"])
        report.row(
            "    wall ÷ ideal", f"{digits(burst['wall_s'] / wait_s)} × ({burst['wall_s']:.1f} s ÷ {wait_s} s)"
        )
        late = f"{digits(burst['late_p50_s'] * 1e3)} ms, p99 {digits(burst['late_p99_s'] * 1e3)} ms"
        report.row("    the loop is late, median", late)


def _own_workers(report: Report, server: Server, agents: int) -> None:
    with Contestant("luahost", server) as client:
        spread = {"model": "json-3000", "calls": 1, "spread_s": 1.5, "wait_s": 0.5}
        said = _agents(report, client, server, f"{agents} own workers", agents=agents, again=0, **spread)
    what = f"{agents:,} agents in workers of their own, waiting 3 s"
    report.row(f"{what}: failed", f"{said['errors']} agents", "0 agents", not said["errors"])
    enough = said["waiting"] >= 0.95 * agents
    report.row("    waiting at once", f"{said['waiting']:,} agents", f"{agents:,} agents", enough)
    report.row(
        "    memory of host and workers", f"{digits(said['bytes'] / 1e6)} MB", "≤ 1,200 MB", said["bytes"] <= 1.2e9
    )
    report.row("    each", f"{digits(said['bytes'] / agents / 1e6)} MB")
    report.row("    the loop is late, p99", f"{digits(said['late_p99_s'] * 1e3)} ms")
    report.row("    loading them, by the wall clock", f"{digits(said['load_s'] / agents * 1e3)} ms each")
