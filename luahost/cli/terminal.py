"""What a person sees and does: the exit codes, the one line of an error, output as it comes, Ctrl-C.

Signals, the time limit and a reader that goes away all end a run the same way: Ends.cancel is called once. Knows
no host and no script.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

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


def fail(error: BaseException, *, debug: bool = False) -> int:
    """One line on stderr, with --debug also the tracebacks; the exit code that goes with it."""
    from luahost.values import shown

    cause = error
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]  # a task of the host broke
    if isinstance(error, LuahostError):
        text, where = error.message, getattr(error, "where", "")
        if where and where not in text:
            text = f"{where}: {text}"
        grant = getattr(error, "grant", "")
        if grant and f"`--grant {grant}`" not in text and f"`{grant}`" not in text:
            text += f"; `--grant '{grant}'` allows it"
        code = next((code for kind, code in EXITS if isinstance(error, kind)), FAULT)
    else:
        text = f"internal error: {type(cause).__name__}: {cause}; --debug shows where"
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


_UNSEEN = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def to_json(value: Any, indent: int | None = None) -> str:
    """A result as JSON for people and programs: no character in it moves a cursor; bytes as text."""
    import json

    text = json.dumps(
        value, ensure_ascii=False, indent=indent, sort_keys=True, default=lambda data: data.decode(errors="replace")
    )
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


# ── ends that come from outside ─────────────────────────────────────────────────────────────────────────


class Ended(BaseException):
    """A signal came while nothing could be cancelled: the command just ends."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Ends:
    """SIGINT, SIGTERM, SIGHUP and the clock of --timeout (SIGALRM). The first that comes counts.

    `cancel` ends the run softly. Until it is set, and while a write waits for a reader, the handler raises Ended.
    """

    def __init__(self) -> None:
        self.number = 0
        self.cancel: Callable[[], None] | None = None
        self.writing: int | None = None  # the descriptor that is written to just now
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            # Ignored by nohup, or by `&` in a script: they ask us to go on.
            if number == signal.SIGALRM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._came)

    def _came(self, number: int, frame: object) -> None:
        if self.number:
            return
        self.number = number
        if self.cancel is None or (self.writing is not None and not takes_more(self.writing)):
            raise Ended(number)
        self.cancel()


def signal_word(number: int) -> str:
    """How the end by this signal is told."""
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


# ── output ──────────────────────────────────────────────────────────────────────────────────────────────

PIECE_BYTES = 4096
"""A pipe that takes more takes so much at once (PIPE_BUF)."""


def takes_more(descriptor: int) -> bool:
    """Whether a write of one piece would not wait."""
    return bool(select.select([], [descriptor], [], 0)[1])


class Printer:
    """Writes what a script says as it comes: output to stdout (stderr with --json), logs to stderr.

    Straight to the descriptors, piece by piece: nothing is buffered that could be lost or come late, and a signal
    ends a write that waits for a reader.
    """

    def __init__(self, ends: Ends, *, json: bool) -> None:
        self._ends = ends
        self._out: TextIO = sys.stderr if json else sys.stdout
        self._open = False  # the last output did not end its line
        self.error: OSError | None = None  # nobody reads any more, or the disk is full
        self.before: Callable[[], None] = lambda: None  # takes away what stands where the text will go

    @property
    def is_midline(self) -> bool:
        return self._open

    def put(self, vm: str, kind: str, text: str) -> None:
        """The host's output callback: it must not raise."""
        self.before()
        if kind.startswith("log."):
            self.write(sys.stderr, f"{kind[4:].upper()} {vm}: {text}\n")
        else:
            self.write(self._out, text)
            self._open = not text.endswith("\n") if text else self._open

    def end_line(self) -> None:
        """Ends the line that output has left open."""
        if self._open:
            self.write(self._out, "\n")
            self._open = False

    def write(self, stream: TextIO, text: str) -> None:
        """All of the text, unless an earlier write failed or this one does: see `error`."""
        if self.error is not None:
            return
        ends, descriptor = self._ends, stream.fileno()
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while left:
                if ends.number and not takes_more(descriptor):
                    raise BlockingIOError("nobody reads")
                ends.writing = descriptor
                left = left[os.write(descriptor, left[:PIECE_BYTES]) :]
                ends.writing = None
        except (OSError, Ended) as error:
            ends.writing = None
            self.error = error if isinstance(error, OSError) else BlockingIOError("nobody reads")
            if ends.cancel is not None:
                ends.cancel()
