"""`luahost audit FILE`: an audit file as a table: who did what, what decided, what it used, how long it took.

A line that is no record is counted and said, and ends nothing. Names come from scripts: what a terminal
would act on is shown as text. Knows only the file.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from luahost.bridge.journal import Record
from luahost.cli.terminal import say
from luahost.errors import ConfigError
from luahost.values import shown

LINE_BYTES = 1 << 20
"""A longer line is no record."""

COLUMNS = ("TIME", "VM", "ACTION", "ABOUT", "DECISION", "RULE", "ENDED", "TOKENS", "USD", "MS")
_decode = msgspec.json.Decoder(Record).decode


class Records:
    """The records of a file that are wanted, read one by one; `broken` counts the lines that are none."""

    def __init__(self, path: str, *, denied: bool, vm: str | None) -> None:
        self._path, self._denied, self._vm = path, denied, vm
        self.broken = 0

    def __iter__(self) -> Iterator[Record]:
        try:
            if not os.path.lexists(self._path):
                raise ConfigError(f"audit: {self._path} does not exist")
            if not Path(self._path).is_file():
                raise ConfigError(f"audit: a regular file expected, {self._path} is none")
            with open(self._path, "rb") as file:
                while line := file.readline(LINE_BYTES + 1):
                    whole = len(line) <= LINE_BYTES
                    while not whole and line and not line.endswith(b"\n"):
                        line = file.readline(LINE_BYTES)
                    record = self._read(line) if whole else None
                    if record is None:
                        self.broken += bool(line.strip()) or not whole
                    elif self._wanted(record):
                        yield record
        except OSError as error:
            raise ConfigError(f"audit: {self._path} cannot be read: {error.strerror}") from None

    def _wanted(self, record: Record) -> bool:
        named = self._vm is None or fnmatch.fnmatchcase(record.vm, self._vm)
        return named and not (self._denied and record.decision != "deny")

    @staticmethod
    def _read(line: bytes) -> Record | None:
        try:
            return _decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None


def show(path: str, *, json: bool = False, denied: bool = False, vm: str | None = None) -> None:
    """Prints the table with a summary below it, or with `json` the records, a line each."""
    records = Records(path, denied=denied, vm=vm)
    if json:
        for record in records:
            sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
    else:
        _table(records)
    if records.broken:
        say(f"luahost: {path}: {records.broken} {_plural(records.broken, 'line')} no record, left out")


def _table(records: Records) -> None:
    rows, decisions, used, cost = [], Counter[str](), 0.0, 0.0
    for record in records:
        rows.append(row(record))
        decisions[record.decision] += 1
        used += _number(record, "total_tokens", "total")
        cost += _number(record, "cost_usd")
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, no_wrap=column != "ABOUT", overflow="fold")
        for each in rows:
            table.add_row(*each, style="red" if each[4] == "deny" else None)
        Console(highlight=False, markup=False).print(table)
    else:
        widths = [max(len(each[at]) for each in (COLUMNS, *rows)) for at in range(len(COLUMNS))]
        for line in (COLUMNS, *rows):
            text = "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True))
            sys.stdout.write(text.rstrip() + os.linesep)
    parts = [f"{len(rows)} decisions: {decisions['allow']} allowed, {decisions['deny']} denied"]
    if used:
        parts.append(f"{used:.0f} tokens")
    if cost:
        parts.append(f"${cost:.6g}")
    sys.stdout.write("; ".join(parts) + "\n")


def row(record: Record) -> tuple[str, ...]:
    """One record, as the table has it."""
    named = (record.method, record.host, record.model, record.program, record.path)
    about = " ".join(filter(None, (*named, record.server, record.tool, record.child)))
    tokens, cost = _number(record, "total_tokens", "total"), _number(record, "cost_usd")
    cells = (
        _time(record.ts),
        record.vm,
        record.action,
        about,
        record.decision,
        record.rule,
        record.error_kind or "ok",
        f"{tokens:.0f}" if tokens else "",
        f"{cost:.6g}" if cost else "",
        f"{record.ms:.0f}" if record.ms else "",
    )
    return tuple(shown(cell, one_line=True)[:200] for cell in cells)


def _time(ts: float) -> str:
    try:
        return datetime.fromtimestamp(ts).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def _number(record: Record, *names: str) -> float:
    for name in names:
        value = record.usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return 0.0


def _plural(count: int, noun: str) -> str:
    return f"{noun} is" if count == 1 else f"{noun}s are"
