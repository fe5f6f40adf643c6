"""The floor of streams: events of 330 bytes, decoded in the host, and given to a script's on_delta.

A rate is per second of the host's CPU: what one core that does nothing else decodes. (By the wall clock two
cores are shared by host, workers and server; that rate is there too, where the script hears the events.)
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from calls import LABELS
from figures import Contestant, Figure, Report, Server, digits

STREAMING_PEERS = ("openai", "litellm", "pydantic-ai")

EVENTS = {"luahost": 4000, "raw": 4000, "httpx": 2000, "openai": 500, "litellm": 100, "pydantic-ai": 100}


def measure(report: Report, *, quick: bool, peers: str | None) -> None:
    rounds, scale = (2, 4) if quick else (4, 1)
    with ExitStack() as stack:
        server = stack.enter_context(Server())
        clients = {name: stack.enter_context(Contestant(name, server)) for name in ("luahost", "raw", "httpx")}
        for name in STREAMING_PEERS if peers else ():
            peer = Contestant(name, server, peers)
            if peer.missing is None:
                clients[name] = stack.enter_context(peer)
        shared = stack.enter_context(Contestant("luahost-shared", server))
        _decoded(report, clients, rounds, scale)
        _together(report, clients["luahost"], rounds, scale)
        _paced(report, shared, streams=20, gap_us=8000, rounds=rounds, scale=scale)
        _paced(report, shared, streams=100, gap_us=10_000, rounds=rounds, scale=scale)
        _first(report, clients, rounds, scale)
        report.row(
            "the server's CPU, of one core, at most",
            f"{max(server.shares):.0%}",
            "< 100 %",
            max(server.shares) < 0.98,
        )


def _asked(report: Report, client: Contestant, **command: Any) -> dict[str, Any]:
    said = client.measured(do="stream", **command)
    report.expect(said["ended"], f"{client.name}: a stream did not end")
    report.expect(not said["errors"], f"{client.name}: {said['errors']} streams failed, the first: {said['error']}")
    return said


def _decoded(report: Report, clients: dict[str, Contestant], rounds: int, scale: int) -> None:
    """One stream after another, everything sent at once; the script only gets the whole text at the end."""
    cost: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(rounds + 1):
        for name, client in clients.items():
            events, streams = EVENTS[name] // scale, 3
            said = _asked(
                report,
                client,
                model=f"sse-{events}-burst",
                events=events,
                streams=streams,
                at_once=1,
                on_delta=False,
            )
            if turn:
                cost[name].append(said["host_s"] / events / streams)
    for name, values in cost.items():
        figure = Figure(values)
        report.row(f"{LABELS[name]}: CPU per streamed event", figure.show("µs", 1e6))
    rate = 1 / Figure(cost["luahost"]).median
    what = "streamed events decoded in the host, per second of its CPU"
    report.row(what, f"{digits(rate)} a second", "≥ 300,000 a second", rate >= 300_000)
    for name in ("raw", "httpx", "openai"):
        if name in cost:
            of = Figure(cost["luahost"]).median / Figure(cost[name]).median
            report.row(f"    CPU per event ÷ {LABELS[name]}", f"{digits(of)} ×")


def _together(report: Report, client: Contestant, rounds: int, scale: int) -> None:
    """One stream that comes faster than the script takes it."""
    events = 20_000 // scale
    host, worker, wall, frames = [], [], [], []
    for turn in range(rounds + 1):
        said = _asked(
            report, client, model=f"sse-{events}-burst", events=events, streams=1, at_once=1, on_delta=True
        )
        if turn:
            host.append(said["host_s"] / events)
            worker.append(said["worker_s"] / events)
            wall.append(said["wall_s"] / events)
            frames.append(events / max(1, said["batches"]))
    rate = 1 / Figure(host).median
    what = "streamed events into on_delta, several in one frame, per second of the host's CPU"
    report.row(what, f"{digits(rate)} a second", "≥ 150,000 a second", rate >= 150_000)
    _beside(report, host, worker, wall, frames)


def _paced(report: Report, client: Contestant, *, streams: int, gap_us: int, rounds: int, scale: int) -> None:
    """Many streams, each event sent by itself and heard by itself, unless the host falls behind."""
    events, offered = int(3e6 / gap_us) // scale, streams * 1_000_000 // gap_us
    host, worker, wall, frames = [], [], [], []
    for turn in range(min(rounds, 3) + 1):
        said = _asked(
            report,
            client,
            model=f"sse-{events}-{gap_us}",
            events=events,
            streams=streams,
            at_once=streams,
            on_delta=True,
        )
        if turn:
            every = events * streams
            host.append(said["host_s"] / every)
            worker.append(said["worker_s"] / every)
            wall.append(said["wall_s"] / every)
            frames.append(every / max(1, said["batches"]))
    figure = Figure(host)
    if offered >= 10_000:
        what = f"{streams} streams into on_delta, {offered:,} paced events a second: CPU of the host per event"
        report.row(what, figure.show("µs", 1e6), "≤ 25 µs", figure.median <= 25e-6)
    else:
        rate = 1 / figure.median
        what = "streamed events into on_delta, one by one, per second of the host's CPU"
        report.row(what, f"{digits(rate)} a second", "≥ 30,000 a second", rate >= 30_000)
        report.row(f"    {streams} streams, paced to", f"{offered:,} a second")
    _beside(report, host, worker, wall, frames)


def _beside(report: Report, host: list[float], worker: list[float], wall: list[float], frames: list[float]) -> None:
    report.row("    CPU of the host per event", Figure(host).show("µs", 1e6))
    report.row("    CPU of the workers per event", Figure(worker).show("µs", 1e6))
    report.row("    by the wall clock", Figure(1 / each for each in wall).show("a second"))
    report.row("    events in one frame", Figure(frames).show("events"))


def _first(report: Report, clients: dict[str, Contestant], rounds: int, scale: int) -> None:
    """From the run to the first on_delta and back to the host, over the first bytes in a raw client."""
    took: dict[str, list[float]] = {"luahost": [], "raw": []}
    for _ in range(rounds):
        for name, values in took.items():
            values += clients[name].measured(do="first", times=100 // scale)["took_s"]
    ours, raw = Figure(took["luahost"]), Figure(took["raw"])
    over = ours.median - raw.median
    report.row("time to first token in on_delta, over raw trio", f"{digits(over * 1e3)} ms", "≤ 1 ms", over <= 1e-3)
    for name, figure in (("luahost, from the run on", ours), ("raw", raw)):
        report.row(f"    {name}", f"{digits(figure.median * 1e3)} ms, p95 {digits(figure.at(0.95) * 1e3)} ms")
