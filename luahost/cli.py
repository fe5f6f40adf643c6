"""The command: run a script, check one, list the providers. Everything a person sees of luahost is said here.

    stdout   what the script prints, then its result; with --json the result alone, on one line
    stderr   logs, one line for an error, and with --debug the tracebacks
    exit     the table EXITS: it says who must act

Starting is light: the zygote boots while trio is imported, httpx comes with the first model call, rich with the
first table. Signals, the time limit and a reader that goes away all end a run the same way: the calls under way
are cancelled, the workers are gone, the sessions are written.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

import luahost
from luahost.errors import (
    ConfigError,
    Denied,
    Exhausted,
    HostFault,
    LuahostError,
    ScriptError,
    Stopped,
    WorldError,
)

if TYPE_CHECKING:
    from luahost.config import Config
    from luahost.host import Vm
    from luahost.ops.providers import Provider
    from luahost.values import Limits, Source, Value
    from luahost.workers.zygote import Zygote

EXITS: tuple[tuple[type[LuahostError], int], ...] = (
    (ScriptError, 1),
    (ConfigError, 2),
    (Denied, 3),
    (Exhausted, 4),
    (Stopped, 4),  # by a deadline: nothing else stops a command but a signal
    (WorldError, 5),
    (HostFault, 70),
)
"""Beside these: 0 done, 128 + N ended by signal N (Ctrl-C: 130), 141 nobody reads stdout any more."""

FAULT = 70
CONNECT_S = 1.0
"""How long `providers` waits for a server."""


def main(argv: list[str] | None = None) -> int:
    """The entry point: runs the command line, says what went wrong in one line, returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the same bytes whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(argv, prog_name="luahost", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return fail(ConfigError(error.format_message()), debug=debug)
    except (click.Abort, Ended) as ended:
        number = ended.number if isinstance(ended, Ended) else signal.SIGINT
        say(f"luahost: {_signal_word(number)}")
        return 128 + number
    except BrokenPipeError:
        _forget(sys.stdout)
        return 128 + signal.SIGPIPE
    except Exception as error:
        return fail(error, debug=debug)


def fail(error: BaseException, *, debug: bool = False) -> int:
    """One line on stderr, with --debug also the tracebacks; the exit code that goes with it."""
    from luahost.outcomes import shown

    if isinstance(error, LuahostError):
        text, where = error.message, getattr(error, "where", "")
        if where and where not in text:
            text = f"{where}: {text}"
        grant = getattr(error, "grant", "")
        if grant and f"`--grant {grant}`" not in text and f"`{grant}`" not in text:
            text += f"; `--grant '{grant}'` allows it"
        code = next((code for kind, code in EXITS if isinstance(error, kind)), FAULT)
    else:
        text = f"internal error: {type(error).__name__}: {error}; --debug shows where"
        code = FAULT
    say(f"luahost: {shown(text, one_line=True)}")
    if debug:
        import traceback

        say(getattr(error, "traceback", ""))
        say("".join(traceback.format_exception(error)).rstrip("\n"))
    return code


def say(text: str) -> None:
    """A line on stderr, if anyone listens."""
    if text:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _forget(stream: TextIO) -> None:
    """What is left unwritten goes nowhere: Python would try again at its end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


# ── ends that come from outside ─────────────────────────────────────────────────────────────────────────


class Ended(BaseException):
    """A signal came while nothing could be cancelled: the command just ends."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Ends:
    """SIGINT, SIGTERM, SIGHUP and the clock of --timeout (SIGALRM). The first that comes counts.

    `cancel` ends the run softly. Until it is set, and while a write blocks, the handler raises Ended.
    """

    def __init__(self) -> None:
        self.number = 0
        self.cancel: Callable[[], None] | None = None
        self.blocked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and `&` in a script: they ask us to go on
                signal.signal(number, self._came)

    def _came(self, number: int, frame: object) -> None:
        if self.number:
            return
        self.number = number
        if self.cancel is None or self.blocked:
            raise Ended(number)
        self.cancel()


def _signal_word(number: int) -> str:
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


class Printer:
    """Writes what a script says as it comes: output to stdout (stderr with --json), logs to stderr."""

    def __init__(self, ends: Ends, *, json: bool) -> None:
        self._ends = ends
        self._out: TextIO = sys.stderr if json else sys.stdout
        self._open = False  # the last output did not end its line
        self.error: OSError | None = None  # nobody reads any more, or the disk is full

    def put(self, vm: str, kind: str, text: str) -> None:
        """The host's output callback: it must not raise."""
        if kind.startswith("log."):
            say(f"{kind[4:].upper()} {vm}: {text}")
        else:
            self.write(self._out, text)
            self._open = not text.endswith("\n") if text else self._open

    def end_line(self) -> None:
        if self._open:
            self.write(self._out, "\n")
            self._open = False

    def write(self, stream: TextIO, text: str) -> None:
        if self.error is not None:
            return
        try:
            self._ends.blocked = True
            stream.write(text)
            stream.flush()
            self._ends.blocked = False
        except (OSError, ValueError, Ended) as error:
            self._ends.blocked = False
            self.error = error if isinstance(error, OSError) else OSError("closed")
            _forget(stream)
            if self._ends.cancel is not None:
                self._ends.cancel()


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(luahost.__version__, prog_name="luahost", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Runs agent scripts written in Lua in sandboxed VMs; each does only what it was granted."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("script")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="The script's input; - is JSON on stdin.")
@click.option("--grant", "grants", multiple=True, metavar="TEXT", help="llm, or llm:models=gpt-4o*;max_calls=5")
@click.option("--provider", metavar="NAME", help="For calls that name none.")
@click.option("--model", metavar="NAME", help="For calls that name none.")
@click.option("--config", "config_file", metavar="FILE", help="Providers, limits and grants, as TOML.")
@click.option("--sessions", metavar="FILE", help="Loaded before, written after, also when the script failed.")
@click.option("--audit", metavar="FILE", help="One JSON line for each decision, appended.")
@click.option("--timeout", type=click.FloatRange(0.001, 31_536_000), metavar="S", help="Seconds for all of it.")
@click.option("--memory", metavar="SIZE", help="Lua heap, like 64MiB.")
@click.option("--cpu", type=float, metavar="S", help="CPU seconds of one activation.")
@click.option("--isolation", type=click.Choice(["vm", "shared"]), help="A worker process of its own, or a shared one.")
@click.option("--json", "json_", is_flag=True, help="Only the result on stdout, as one line of JSON.")
@click.option("--debug", is_flag=True, help="Tracebacks of Lua and Python.")
def run(**options: Any) -> int:
    """Runs SCRIPT and prints its result.

    Exit codes: 0 done, 1 the script failed, 2 usage, 3 denied, 4 a limit or budget is used up, 5 the outside
    world, 70 our fault, 130 interrupted.
    """
    from luahost.workers.zygote import Zygote

    ends = Ends()
    zygote = Zygote()  # boots while the rest is read and imported
    try:
        return Run(options, ends, zygote).go()
    finally:
        zygote.close()


class Run:
    """One `luahost run`: everything is read and checked first, then run, then written."""

    def __init__(self, options: dict[str, Any], ends: Ends, zygote: Zygote) -> None:
        from luahost import config

        self._ends, self._zygote = ends, zygote
        self._json, self._debug, self._timeout_s = options["json_"], options["debug"], options["timeout"]
        self._config = _config(options)
        self._limits = _limits(self._config.limits, options)
        self._source: Source = config.read_script(options["script"])
        self._input = _input(options["input_"], self._limits.value_bytes)
        self._audit = None if options["audit"] is None else _appendable(Path(options["audit"]))
        self._sessions = None if options["sessions"] is None else SessionsFile(Path(options["sessions"]))
        self._printer = Printer(ends, json=self._json)
        self._vm: Vm | None = None
        self._stood = ""  # where the VM stood when the run was ended
        self._done = False
        self._result: Value = None

    def go(self) -> int:
        import trio

        error: BaseException | None = None
        self._ends.cancel = lambda: None  # from here on a signal is noted, and acted on where it can be
        try:
            trio.run(self._drive)
        except Exception as problem:
            error = problem
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress_into(error) as outcome:
            if self._sessions is not None and self._vm is not None:
                self._sessions.write(self._vm.sessions.dump())
        return self._say(outcome.error)

    async def _drive(self) -> None:
        import trio

        from luahost.host import Host

        host = Host(self._config, audit=self._audit, output=self._printer.put).prepare(self._zygote)
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop() -> None:
                self._stood = self._stood or self._where()
                scope.cancel()

            self._ends.cancel = lambda: token.run_sync_soon(stop)
            if self._ends.number:
                stop()
            if self._timeout_s is not None:
                signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
            async with host:
                vm = await host.load(
                    self._source,
                    grants=self._config.grants,
                    limits=self._limits,
                    input=self._input,
                    opened=self._opened,
                )
                self._result = await vm.run(self._input)
                self._done = True

    def _opened(self, vm: Vm) -> None:
        if self._sessions is not None:
            self._sessions.load_into(vm)
        self._vm = vm

    def _where(self) -> str:
        if self._vm is None:
            return "the script had not begun"
        calls = self._vm.waiting_for
        return f"{self._vm.name} was {'waiting for ' + ', '.join(calls) if calls else 'running'}"

    def _say(self, error: BaseException | None) -> int:
        """The last words, on both streams, and the exit code."""
        printer, number = self._printer, self._ends.number
        printer.end_line()
        if self._done:
            self._put_result()
            error = error or _error_of_result(self._result)
        if self._vm is not None and self._vm.usage.output_dropped_bytes:
            dropped = self._vm.usage.output_dropped_bytes
            say(f"luahost: {dropped} bytes of output were dropped: over the limit of {self._limits.output_bytes}")
        if error is None and not self._done and number == signal.SIGALRM:
            message = f"the time limit of {self._timeout_s:g} s is used up; {self._stood}"
            error = Stopped(message, kind="deadline_exceeded")
        if error is None and not self._done and number:
            say(f"luahost: {_signal_word(number)}; {self._stood}")
            return 128 + number
        if isinstance(printer.error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        if error is None and printer.error is not None:
            error = WorldError(f"stdout: {printer.error.strerror or printer.error}")
        return 0 if error is None else fail(error, debug=self._debug)

    def _put_result(self) -> None:
        from luahost.outcomes import shown

        result = self._result
        if isinstance(result, bytes):
            result = result.decode(errors="replace")
        if self._json:
            text = to_json(result)
        elif isinstance(result, str):
            text = shown(result) if sys.stdout.isatty() else result
        else:
            text = "" if result is None else to_json(result, indent=2)
        if text:
            self._printer.write(sys.stdout, text if text.endswith("\n") else text + "\n")


class suppress_into:  # noqa: N801 - used like contextlib.suppress
    """Keeps the first error: the one given, else the one raised in the block."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def __enter__(self) -> suppress_into:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = self.error or error
        return True
