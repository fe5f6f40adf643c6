"""Servers that other people wrote, started where they are installed: `make test-servers` installs them.

    aimock        answers as OpenAI, Anthropic, Gemini and Ollama do, from tests/recordings/aimock-fixtures.json
    wiremock      breaks connections, and plays scenarios; `expect` tells it what to answer
    llama         llama.cpp's server over a model of one page that always says the same (tests/tiny_model.py)

A fixture skips its test where the server is not installed, and says what is missing. A server lives as long as one
file of tests: others count the processes that are left. They are looked for in
`.servers/`, or in the folder that LUAHOST_TEST_SERVERS names. Sources: SERVERS.md; wiremock.org/docs/simulating-faults.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import unused_port

from luahost.gate.hosts import Origin, parse_base_url

HERE = Path(__file__).parent
FIXTURES = HERE / "recordings" / "aimock-fixtures.json"
FOLDER = Path(os.environ.get("LUAHOST_TEST_SERVERS") or HERE.parent / ".servers")
AIMOCK = FOLDER / "node_modules/@copilotkit/aimock/dist/cli.js"
WIREMOCK = FOLDER / "node_modules/wiremock/build/wiremock-standalone-3.13.2.jar"
LLAMA = FOLDER / "llama/llama-server"
MODEL = FOLDER / "llama/tiny.gguf"


class ThirdParty:
    """A running server. `url` and `origin` are where it is."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def origin(self) -> Origin:
        return parse_base_url(self.url)[0]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it says about itself, or is told, beside luahost."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None


class WireMock(ThirdParty):
    def expect(self, path: str, *answers: dict[str, Any], method: str = "POST") -> None:
        """The answers come one after another, the last again and again."""
        for number, answer in enumerate(answers):
            step: dict[str, Any] = {}
            if len(answers) > 1:
                step = {
                    "scenarioName": path,
                    "requiredScenarioState": "Started" if number == 0 else f"after {number}",
                    "newScenarioState": f"after {min(number + 1, len(answers) - 1)}",
                }
            self.ask(
                "POST",
                "/__admin/mappings",
                {"request": {"method": method, "urlPath": path}, "response": answer} | step,
            )

    def times(self, path: str) -> list[float]:
        """When each request for the path came, in seconds, the first one first."""
        said = self.ask("POST", "/__admin/requests/find", {"urlPath": path})
        return sorted(request["loggedDate"] / 1000 for request in said["requests"])

    def reset(self) -> None:
        self.ask("POST", "/__admin/reset")


@contextlib.contextmanager
def running(command: list[str], port: int, health: str, boots_s: float = 30.0) -> Iterator[str]:
    """The server's URL, from when it answers; ended by its own pid."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + boots_s
        while True:
            try:
                with urllib.request.urlopen(url + health, timeout=1):
                    break
            except OSError:
                assert process.poll() is None, f"{command[0]} ended by itself"
                assert time.monotonic() < until, f"{command[0]} did not answer within {boots_s} s"
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _need(program: str, file: Path, how: str = "make test-servers") -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if not file.exists():
        pytest.skip(f"{file.name} is not installed: `{how}` does it")


@pytest.fixture(scope="module")
def aimock() -> Iterator[ThirdParty]:
    _need("node", AIMOCK)
    port = unused_port()
    command = ["node", str(AIMOCK), "-p", str(port), "-h", "127.0.0.1", "-f", str(FIXTURES), "--strict"]
    with running([*command, "--log-level", "silent"], port, "/health") as url:
        yield ThirdParty(url)


@pytest.fixture(scope="module")
def _wiremock() -> Iterator[WireMock]:
    _need("java", WIREMOCK)
    port = unused_port()
    command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(WIREMOCK), "--port", str(port)]
    with running([*command, "--bind-address", "127.0.0.1", "--disable-banner"], port, "/__admin/health") as url:
        yield WireMock(url)


@pytest.fixture
def wiremock(_wiremock: WireMock) -> Iterator[WireMock]:
    """Told nothing yet."""
    _wiremock.reset()
    yield _wiremock


@pytest.fixture(scope="module")
def llama() -> Iterator[ThirdParty]:
    if not (LLAMA.exists() and MODEL.exists()):
        pytest.skip("llama-server is not installed: `make test-servers LLAMA=1` builds it")
    port = unused_port()
    command = [str(LLAMA), "-m", str(MODEL), "--host", "127.0.0.1", "--port", str(port), "--no-ui", "--offline"]
    options = ["--reasoning", "off", "-c", "4096", "-np", "2", "-t", "1", "--temp", "0"]
    with running([*command, *options], port, "/health") as url:
        yield ThirdParty(url)


def are_used_by(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return bool({"aimock", "wiremock", "llama"} & set(names))
