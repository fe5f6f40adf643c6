"""The command: run a script, serve or check one, begin a project, list the providers.

    stdout   what the script prints, then its result; with --json the result alone, on one line
    stderr   logs, one line for an error, and with --debug the tracebacks
    exit     terminal.EXITS: it says who must act

Here is what can be typed; what it does is in the files beside. Starting is light: nothing but click is imported
to say --help, the zygote boots while trio is imported, httpx comes with the first model call, rich with the first
table; and nobody looks for garbage in what was imported, neither on the way nor at the end.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

import luahost
from luahost.cli.terminal import Ended, Ends, fail, say, signal_word
from luahost.errors import ConfigError, WorldError


def main(argv: list[str] | None = None) -> int:
    """The entry point: runs the command line, says what went wrong in one line, returns the exit code."""
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    gc.disable()  # until there is a host
    atexit.register(gc.freeze)
    try:
        code = cli.main(argv, prog_name="luahost", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return fail(ConfigError(error.format_message()), debug=debug)
    except (click.Abort, Ended) as ended:
        number = ended.number if isinstance(ended, Ended) else signal.SIGINT
        say(f"luahost: {signal_word(number)}")
        return 128 + number
    except OSError as error:
        return fail(WorldError(str(error), kind="io"), debug=debug)
    except Exception as error:
        return fail(error, debug=debug)
    finally:
        gc.enable()


def _writable(stream: Any) -> Any:
    """The stream, writing the same bytes whatever the locale says; one that was closed leads nowhere."""
    if stream is None:
        stream = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(luahost.__version__, prog_name="luahost", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Runs agent scripts written in Lua in sandboxed VMs; each does only what it was granted."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Tracebacks of Lua and Python."
)  # main() looks for it, so that it holds for every kind of failure


def script_options(command: Callable[..., int]) -> Callable[..., int]:
    """What every command takes that loads a script: which one, what it holds and what it may use."""
    for option in (
        click.option(
            "--isolation",
            type=click.Choice(["vm", "tree", "shared"]),
            help="One worker process per VM, per tree, or for many.",
        ),
        click.option("--cpu", type=float, metavar="S", help="CPU seconds of one activation."),
        click.option("--memory", metavar="SIZE", help="Lua heap, like 64MiB."),
        click.option("--audit", metavar="FILE", help="One JSON line for each decision, appended."),
        click.option("--config", "config_file", metavar="FILE", help="Providers, limits and grants, as TOML."),
        click.option("--model", metavar="NAME", help="For calls that name none."),
        click.option("--provider", metavar="NAME", help="For calls that name none."),
        click.option(
            "--grant", "grants", multiple=True, metavar="TEXT", help="llm, or llm:models=gpt-4o*;max_calls=5"
        ),
        click.argument("script"),
    ):  # the last is the first that --help shows
        command = option(command)
    return command


@cli.command()
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="The script's input; - is JSON on stdin.")
@script_options
@click.option("--sessions", metavar="FILE", help="Loaded before, written after, also when the script failed.")
@click.option("--timeout", type=float, metavar="S", help="Seconds for all of it.")
@click.option("--ask", is_flag=True, help="Each call under a grant is asked about on the terminal.")
@click.option("--tree", is_flag=True, help="The VMs, drawn on stderr: live on a terminal, and at the end.")
@click.option("--json", "json_", is_flag=True, help="Only the result on stdout, as one line of JSON.")
@debug_option
def run(**options: Any) -> int:
    """Runs SCRIPT and prints its result.

    Exit codes: 0 done, 1 the script failed, 2 usage, 3 denied, 4 a limit or budget is used up, 5 the outside
    world, 70 our fault, 130 interrupted.
    """
    ends = Ends()
    from luahost.cli.running import Run

    return Run(options, ends).go()


@cli.command("mcp")
@script_options
@debug_option
def serve_mcp(**options: Any) -> int:
    """Serves the intents that SCRIPT registers as the tools of an MCP server, over stdin and stdout.

    What the script prints goes to stderr. Ends with 0 when stdin does.
    """
    ends = Ends()
    from luahost.cli.serving import Serve

    return Serve(options, ends).go()


@cli.command()
@click.argument("script")
@debug_option
def check(script: str) -> int:
    """Says whether SCRIPT is Lua and which capabilities its text names. Runs nothing of it.

    What a script does with orcs under another name cannot be read off its text; the gate decides in any case.
    """
    from luahost.cli import checking

    click.echo(checking.check(script))
    return 0


@cli.command("audit")
@click.argument("file")
@click.option("--json", "json_", is_flag=True, help="The records themselves, a line of JSON each.")
@click.option("--denied", is_flag=True, help="Only what was denied.")
@click.option("--vm", metavar="GLOB", help="Only VMs whose path fits, like 'team/*'.")
@debug_option
def show_audit(file: str, json_: bool, denied: bool, vm: str | None) -> int:
    """Shows FILE, which run --audit wrote, as a table: who did what, what decided, what it used."""
    from luahost.cli import audit

    audit.show(file, json=json_, denied=denied, vm=vm)
    return 0


@cli.command("init")
@click.argument("directory")
@debug_option
def begin(directory: str) -> int:
    """Makes DIRECTORY a project: a script, its configuration, types for editors, a test. Overwrites nothing."""
    from luahost.cli import starting

    for path in starting.start(directory):
        click.echo(path)
    return 0


@cli.command("stubs")
@click.argument("directory", default=".")
@click.option("--table", is_flag=True, help="The README's table instead, on stdout.")
@debug_option
def write_stubs(directory: str, table: bool) -> int:
    """Writes DIRECTORY/orcs.d.lua: types of everything in `orcs`, for editors that know LuaLS."""
    from luahost.cli import stubs

    click.echo(stubs.table() if table else stubs.write(directory), nl=not table)
    return 0


@cli.command("doctor")
@click.option("--json", "json_", is_flag=True, help="The same as one line of JSON.")
@debug_option
def examine(json_: bool) -> int:
    """Tries with real workers which promises hold on this machine, and says so line by line.

    Exit codes: 0 all of them hold, 5 one does not.
    """
    from luahost.cli import doctor

    return doctor.doctor(json=json_)


@cli.command()
@click.option("--config", "config_file", metavar="FILE", help="Providers of your own, as TOML.")
@click.option("--ping/--no-ping", default=True, help="Whether to ask each; its key goes to its own server.")
@debug_option
def providers(config_file: str | None, ping: bool) -> int:
    """Lists the providers: wire, URL, whether the key is there (never the key), whether the server is."""
    from luahost.cli import listing

    listing.providers(config_file, ping=ping)
    return 0
