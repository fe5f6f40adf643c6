"""A person at the terminal as the approver: one question at a time, on the terminal itself, whatever stdout is.

Answers: y this once, a this and the same for ten minutes, n no. Where there is no terminal the answer is no, and
says why. Everything that a script had a hand in is shown with its control characters as text.
"""

from __future__ import annotations

import os
import termios

import msgspec
import trio

from luahost.ops.approval import AllowFor, AllowOnce, ApprovalRequest, Deny
from luahost.values import shown

FOR_S = 600.0
MAX_SHOWN = 2000
"""Characters of the arguments; where there are more, it says how many."""


class Terminal:
    """Called with each request. `path` is the terminal's."""

    def __init__(self, path: str = "/dev/tty") -> None:
        self._path, self._turn = path, trio.Lock()

    async def __call__(self, request: ApprovalRequest) -> AllowOnce | AllowFor | Deny:
        async with self._turn:
            try:
                terminal = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return Deny("there is no terminal to ask on")
            try:
                termios.tcflush(terminal, termios.TCIFLUSH)  # what was typed before is no answer to this
                await _write(terminal, _question(request))
                while True:
                    word = (await _line(terminal)).strip().lower()
                    if word in ("y", "yes"):
                        return AllowOnce()
                    if word in ("a", "always"):
                        return AllowFor(ttl_s=FOR_S)
                    if word in ("n", "no", ""):
                        return Deny("refused at the terminal")
                    await _write(terminal, "luahost: y, a or n expected: ")
            except (OSError, termios.error):
                return Deny("the terminal is gone")
            finally:
                os.close(terminal)


def _question(request: ApprovalRequest) -> str:
    about = ", ".join(f"{name} {value}" for name, value in request.about.items() if value)
    args = msgspec.json.encode(request.args, enc_hook=str).decode()
    more = f" … and {len(args) - MAX_SHOWN} characters that are not shown" if len(args) > MAX_SHOWN else ""
    lines = [
        f"{request.vm} wants {request.kind} ({request.action}): {about}",
        f"  with {args[:MAX_SHOWN]}{more}",
    ]
    if request.reason:
        lines.append(f"  it says: {request.reason[:MAX_SHOWN]}")
    told = "\n".join(shown(line, one_line=True) for line in lines)
    return f"\nluahost: {told}\n  allow it? y this once, a for {FOR_S / 60:g} minutes, n no: "


async def _write(terminal: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(terminal, data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(terminal)


async def _line(terminal: int) -> str:
    while True:
        await trio.lowlevel.wait_readable(terminal)
        try:
            return os.read(terminal, 1000).decode(errors="replace")  # a terminal gives whole lines
        except BlockingIOError:
            continue
