"""One `luahost run`: all is read and checked, the script runs, the sessions are written, the last word is said.

trio and the host are imported when everything on the command line is known to be right, while the zygote boots.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luahost import config
from luahost.cli import given, tree
from luahost.cli.terminal import Ends, Printer, say, signal_word, to_json
from luahost.errors import LuahostError, ScriptError, Stopped
from luahost.program.outcomes import error_of_no
from luahost.standing import Standing
from luahost.values import shown
from luahost.workers.zygote import Zygote

if TYPE_CHECKING:
    from luahost.program.vm import Vm
    from luahost.values import Value


class Run:
    """One `luahost run`: everything is read and checked first, then run, then written."""

    def __init__(self, options: dict[str, Any], ends: Ends) -> None:
        self._ends = ends
        self._json, self._timeout_s = options["json_"], given.timeout_s(options["timeout"])
        self._config = given.configuration(options)
        self._limits = given.limits(self._config.limits, options)
        self._source = config.read_script(options["script"])
        self._input = given.value(options["input_"], self._limits.value_bytes)
        self._audit = None if options["audit"] is None else given.appendable(Path(options["audit"]))
        self._sessions = None if options["sessions"] is None else given.SessionsFile(Path(options["sessions"]))
        self._printer = Printer(ends, json=self._json)
        self._vm: Vm | None = None
        self._stood: list[str] = []  # where the VMs stood when the run was ended, a line each
        self._standing: Standing | None = None  # where they stand at the end of the run
        self._tree = bool(options["tree"])
        self._done = False
        self._result: Value = None

    def go(self) -> int:
        """Runs it. The exit code, or the error that has one."""
        zygote = Zygote()
        try:
            return self._go(zygote)
        finally:
            zygote.close()

    def _go(self, zygote: Zygote) -> int:
        import trio

        error: Exception | None = None
        self._ends.cancel = lambda: None  # from here on a signal is noted, and acted on where it can be
        try:
            trio.run(self._drive, zygote)
        except Exception as problem:
            error = problem
        try:
            self._save()
        except Exception as problem:  # the first of them is the one to tell
            error = error or problem
        return self._say(error)

    def _save(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._sessions is not None and self._vm is not None:
            self._sessions.write(self._vm.sessions.dump(full=True))

    async def _drive(self, zygote: Zygote) -> None:
        import trio

        from luahost.cli.approver import Terminal
        from luahost.host import Host

        gc.freeze()  # what was imported stays: nobody looks for garbage there
        gc.enable()
        host = Host(self._config, audit=self._audit, output=self._printer.put, approver=Terminal())
        host.prepare(zygote)
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def stop() -> None:
                self._stood = self._stood or self._where()
                self._standing = self._standing or self._stands()
                scope.cancel()

            def stop_soon() -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(stop)

            self._ends.cancel = stop_soon
            if self._ends.number:
                stop()
            if self._timeout_s is not None:
                signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
            async with host:
                async with self._watched():
                    vm = await host.load(
                        self._source,
                        grants=self._config.grants,
                        ceiling=self._config.ceiling,
                        limits=self._limits,
                        input=self._input,
                        opened=self._opened,
                    )
                    self._result = await vm.run(self._input)
                self._done = True
            if host.audit_error is not None:
                raise host.audit_error

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """With --tree, and where stderr is a terminal, the tree is drawn meanwhile."""
        try:
            if not self._tree or not sys.stderr.isatty():
                yield
                return
            import trio

            view = tree.View(self._stands, lambda: not self._printer.is_midline)
            self._printer.before = view.hide
            failed: Exception | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(view.run)
                try:
                    yield
                except Exception as error:  # of the script: to be told as it is, and not in a group
                    failed = error
                finally:
                    nursery.cancel_scope.cancel()
            if failed is not None:
                raise failed
        finally:
            self._standing = self._standing or self._stands()

    def _stands(self) -> Standing | None:
        return None if self._vm is None else self._vm.standing()

    def _opened(self, vm: Vm) -> None:
        if self._sessions is not None:
            self._sessions.load_into(vm)
        self._vm = vm

    def _where(self) -> list[str]:
        standing = self._stands()
        return ["the script had not begun"] if standing is None else tree.stood(standing)

    def _say(self, error: Exception | None) -> int:
        """The last words, on both streams; the exit code, or the error that has one."""
        printer, number = self._printer, self._ends.number
        printer.end_line()
        if self._tree and self._standing is not None:
            tree.show(self._standing)
        if self._done:
            self._put_result()
            error = error or _error_of_result(self._result)
        if self._vm is not None and self._vm.usage.output_dropped_bytes:
            dropped = self._vm.usage.output_dropped_bytes
            say(f"luahost: {dropped} bytes of output were dropped: over the limit of {self._limits.output_bytes}")
        first, *further = self._stood or ["the result was being written"]
        if error is None and not self._done and number == signal.SIGALRM:
            message = f"the time limit of {self._timeout_s:g} s is used up; {first}"
            error = Stopped(message, kind="deadline_exceeded")
            say("\n".join(further))
        if error is None and number and (not self._done or printer.error is not None):
            say("\n".join([f"luahost: {signal_word(number)}; {first}", *further]))
            return 128 + number
        error = error or printer.error
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        if error is not None:
            raise error
        return 0

    def _put_result(self) -> None:
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


def _error_of_result(result: Value) -> LuahostError | None:
    """A script that answers with a failed call's table has failed the way that call did."""
    if (
        not isinstance(result, dict)
        or result.get("ok") is not False
        or not isinstance(result.get("error_kind"), str)
    ):
        return None
    detail = result.get("detail")
    error = error_of_no({**result, "detail": detail if isinstance(detail, dict) else {}})
    return error or ScriptError(str(result.get("error", "")), kind=result["error_kind"])
