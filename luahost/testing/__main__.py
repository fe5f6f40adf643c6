"""`python -m luahost.testing`: EchoModel on a port, until Ctrl-C; the first line printed is the URL."""

from __future__ import annotations

import argparse
import sys
import threading

from luahost.testing.server import EchoModel


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m luahost.testing", description="A model server that needs nothing."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="seconds between two streamed words")
    options = parser.parse_args(argv)
    echo = EchoModel(port=options.port, delay_s=options.delay)
    try:
        echo.start()
    except OSError as error:
        parser.error(f"port {options.port}: {error.strerror}")
    try:
        print(echo.url, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        echo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
