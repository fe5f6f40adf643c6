"""The servers outside, in a process of their own: a model, the attacker's, and one that no script has business at.

What they hold and compute is not the host's. Each request that should never have been made is a trespass; Outside
reads those, one JSON line for each line it asks with.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from servers import Conn, FaultServer

from luahost.testing import EchoModel

GZIP_BOMB = 64 << 20


class Outside:
    """The process. Use as a context manager."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.model_port, self.public_port, self.internal_port = self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.stdin.close()  # type: ignore[union-attr]

    def trespasses(self) -> list[str]:
        """Those since the last time."""
        return self._ask()

    def _ask(self) -> list:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve(secret: str) -> None:
    trespasses: list[str] = []

    def internal(conn: Conn) -> None:
        request = conn.read_request()
        trespasses.append(f"the internal server was asked {request and request.path!r}")
        if request is not None:
            conn.respond(200, body=f"internal: {secret}".encode())

    def public(conn: Conn) -> None:
        request = conn.read_request()
        if request is None:
            return
        host = request.headers.get("host", "").partition(":")[0]
        path, _, query = request.path.partition("?")
        said = f"{request.method} {request.path}\n" + "".join(f"{n}: {v}\n" for n, v in request.headers.items())
        if secret in said or secret.encode() in request.body:
            trespasses.append(f"the key went to {host}")
        if "x-evil" in said.lower() or not host.endswith(".test"):
            trespasses.append(f"a smuggled request: {said[:200]!r}")
        if host == "redirect.test" and query.startswith("to="):
            conn.respond(302, [("Location", query.removeprefix("to="))])
        elif host != "evil-rebind.test":  # that one hangs up, hoping for another look-up
            if host == "attacker.test" and "MY-TOKEN" in said:
                trespasses.append("a redirect took the script's token to another server")
            HOSTILE.get(path, lambda conn: conn.respond(200, body=said.encode()))(conn)

    with EchoModel(key=secret) as model, FaultServer(public) as servers, FaultServer(internal) as none:
        sys.stdin.readline()
        print(json.dumps([model.port, servers.port, none.port]), flush=True)
        while sys.stdin.readline():
            told, trespasses[:] = list(trespasses), []
            print(json.dumps(told), flush=True)


def _endless(conn: Conn) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    while True:
        conn.send(b"x" * 65536)


HOSTILE: dict[str, Callable[[Conn], object]] = {
    "/endless": _endless,
    "/bomb": lambda conn: conn.respond(200, [("Content-Encoding", "gzip")], gzip.compress(bytes(GZIP_BOMB))),
    "/headers": lambda conn: conn.respond(200, [(f"X-{n}", "v" * 100) for n in range(20_000)]),
    "/loop": lambda conn: conn.respond(302, [("Location", "/loop")]),
    "/slow": lambda conn: conn.wait(60),
    "/cut": lambda conn: conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx"),
    "/lies": lambda conn: conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nxxx"),
    "/none": lambda conn: conn.send(b"\0\r\n\r\n"),
}
"""What the attacker's server does where it is asked for it; elsewhere it says what it was asked."""


if __name__ == "__main__":
    serve(sys.argv[1])
