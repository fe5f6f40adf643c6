"""What `make demo` runs: one script, once with the grant and once without it.

The model is EchoModel on loopback, which needs nothing, or `--provider ollama` (or another one that is there).
Exit code 0 if the first run was answered and the second was refused.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from luahost.testing import EchoModel

TOP = Path(__file__).resolve().parent.parent
ANSWERED, DENIED = 0, 3


def luahost(*words: str) -> int:
    """Runs the command as it would be typed at the top of the repository."""
    print(f"\n$ luahost {shlex.join(words)}\n", flush=True)
    code = subprocess.run([sys.executable, "-m", "luahost", *words], cwd=TOP, check=False).returncode
    print(f"\n[exit code {code}]", flush=True)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provider", help="a provider that is there, instead of EchoModel")
    parser.add_argument("--delay", type=float, default=0.03, help="seconds between EchoModel's words")
    options = parser.parse_args()
    with ExitStack() as stack:
        model = ["--provider", options.provider or "echo"]
        if options.provider is None:
            echo = stack.enter_context(EchoModel(delay_s=options.delay))
            config = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "luahost.toml"
            config.write_text(f'[providers.echo]\nbase_url = "{echo.url}"\nmodel = "echo"\n')
            print(f"A model server that needs nothing listens on {echo.url}; {config} names it:\n")
            print(config.read_text(), end="")
            model += ["--config", str(config)]
        script = ["run", "examples/summarize.lua", "--input", "@README.md", *model]
        print("\nThe script with the grant:")
        answered = luahost(*script, "--grant", "llm")
        print("\nThe same script without it:")
        denied = luahost(*script)
    return 0 if (answered, denied) == (ANSWERED, DENIED) else 1


if __name__ == "__main__":
    sys.exit(main())
