"""The floor of starting: CPU of the whole command, zygote and worker included, over a python that does nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from figures import TOP, Figure, Report, cpu_of_all, descendants
from server import json_answer

ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
ENVIRONMENT["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # importing litellm fetches nothing then


def measure(report: Report, *, quick: bool, peers: str | None) -> None:
    rounds = 2 if quick else 7
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as model:
        model.settimeout(20)
        here = Path(directory)
        (here / "nothing.lua").write_text("return 1\n")
        (here / "ask.lua").write_text("local r = orcs.llm('Hello?') assert(r.ok, r.error) return 2\n")
        url = f"http://127.0.0.1:{model.getsockname()[1]}"
        config = f'provider = "bench"\n[providers.bench]\nbase_url = {json.dumps(url)}\nmodel = "json-0"\n'
        (here / "luahost.toml").write_text(config)
        command = [sys.executable, "-m", "luahost"]
        ask = [*command, "run", "ask.lua", "--config", "luahost.toml", "--grant", "llm"]
        acts: dict[str, Callable[[], float]] = {
            "python": lambda: _cpu_of([sys.executable, "-c", "pass"], here),
            "--version": lambda: _cpu_of([*command, "--version"], here),
            "run": lambda: _cpu_of([*command, "run", "nothing.lua"], here),
            "ask": lambda: _cpu_until_request(ask, here, model),
        }
        if peers:
            for name in ("openai", "litellm"):
                acts[f"import {name}"] = lambda name=name: _cpu_of([peers, "-c", f"import {name}"], here)
        cost: dict[str, list[float]] = {name: [] for name in acts}
        for turn in range(rounds + 1):
            for name, act in list(acts.items()):
                if turn > 2 and name.startswith("import"):
                    continue  # seconds each
                try:
                    used = act()
                except subprocess.CalledProcessError as error:
                    if not name.startswith("import"):
                        report.error(f"{name}: ended with {error.returncode}")
                    del acts[name]
                    continue
                if turn:
                    cost[name].append(used)
    bare = Figure(cost["python"]).median
    for name, what, most in (
        ("--version", "`luahost --version`", 40),
        ("run", "`luahost run` of a script without network", 110),
        ("ask", "`luahost run` to the first byte of a model request", 170),
    ):
        over = Figure(used - bare for used in cost[name])
        report.row(f"{what}: CPU over bare python", over.show("ms", 1e3), f"≤ {most} ms", over.median <= most / 1e3)
    report.row("    bare python itself", Figure(cost["python"]).show("ms", 1e3))
    for name, used_s in cost.items():
        if name.startswith("import") and used_s:
            report.row(
                f"    python -c '{name}', over bare python", Figure(used - bare for used in used_s).show("ms", 1e3)
            )


def _start(words: list[str], here: Path) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(words, cwd=here, env=ENVIRONMENT | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL)


def _cpu_of(words: list[str], here: Path) -> float:
    """CPU seconds of a process and everything below it, when it is over."""
    process = _start(words, here)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used.ru_utime + used.ru_stime


def _cpu_until_request(words: list[str], here: Path, model: socket.socket) -> float:
    """The same, when the first bytes of its request are here; the script then gets its answer."""
    with _start(words, here) as process:
        accepted, _ = model.accept()
        with accepted:
            accepted.recv(65536)
            used = cpu_of_all([process.pid, *descendants(process.pid)])
            accepted.sendall(json_answer(False))
            process.wait(20)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used
