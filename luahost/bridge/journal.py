"""The audit: one JSON line for each decision of the gate, naming the rule that decided.

Who (VM), under which grant, asked for what, of which server and model; allowed or not, and why; what it used and
how it ended. Never prompt text, never a key, never a header: arguments are there as a hash. A record that cannot be
written is the last: from then on nothing is done that would need one.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from luahost.gate.grants import Grant
from luahost.gate.permits import Action
from luahost.gate.rules import Refusal

_log = logging.getLogger("luahost.audit")


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One decision. `ts` is seconds since 1970 at the decision; `ms` is what the act took after it.

    What it was about stands in the fields that its action tells of (permits.Action.about).
    """

    ts: float
    seq: int
    vm: str
    capability: str
    action: str
    decision: str  # allow | deny
    rule: str
    grant: str = ""
    grant_ids: list[str] = []
    host: str = ""
    provider: str = ""
    model: str = ""
    path: str = ""
    program: str = ""
    method: str = ""
    child: str = ""
    server: str = ""
    tool: str = ""
    args_sha256: str = ""
    error_kind: str = ""
    usage: dict[str, Any] = {}
    attempts: int = 0
    ms: float = 0.0


Sink = Callable[[dict[str, Any]], None]


class Journal:
    """Numbers the records and hands them to a file (a path: JSON lines, appended, mode 0600) or a callable.

    `broken` says why no more can be written.
    """

    def __init__(self, sink: str | Path | Sink | None) -> None:
        self._seq = 0
        self.broken: str | None = None
        self._file: BinaryIO | None = None
        self._call: Sink | None = None
        if isinstance(sink, str | Path):
            descriptor = os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._file = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - lives as long as the host
            if _is_torn(sink):
                self._put(b"\n")
        else:
            self._call = sink

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def write(self, record: Record) -> None:
        """Does not raise: see `broken`."""
        if self.broken is not None:
            return
        try:
            if self._file is not None:
                self._put(_line(record))
            elif self._call is not None:
                self._call(msgspec.to_builtins(record))
        except Exception as error:  # of the disk, or of the operator's function
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self.broken = f"the audit cannot be written: {reason}"
            if self._call is not None:
                _log.exception("%s", self.broken)

    def _put(self, line: bytes) -> None:
        """In one write, so that lines of two hosts do not mix; a disk that takes a part of it is full."""
        assert self._file is not None
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _line(record: Record) -> bytes:
    try:
        return msgspec.json.encode(record) + b"\n"
    except UnicodeEncodeError:  # of a path that is no UTF-8, which JSON can still write
        return json.dumps(msgspec.to_builtins(record)).encode() + b"\n"


def _is_torn(path: str | Path) -> bool:
    """Whether the file ends within a line, where a disk was full: the next record is not to be lost with it."""
    with suppress(OSError), open(path, "rb") as file:  # a special file has no end to look at
        return os.fstat(file.fileno()).st_size > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
    return False


class Trail:
    """One VM's records in the journal. `now_s` tells the time of day."""

    def __init__(self, journal: Journal, vm: str, now_s: Callable[[], float]) -> None:
        self._journal, self._vm, self._now_s = journal, vm, now_s

    @property
    def broken(self) -> str | None:
        """Why no more records can be written."""
        return self._journal.broken

    def record(  # noqa: PLR0917 - a decision is that much
        self,
        op: str,
        capability: str,
        args_sha256: str,
        refusal: Refusal | None,
        action: Action | None = None,
        grant: Grant | None = None,
    ) -> Record:
        """A decision of the gate; not written yet."""
        record = Record(
            ts=self._now_s(),
            seq=self._journal.next_seq(),
            vm=self._vm,
            capability=capability,
            action=op,
            decision="allow" if refusal is None else "deny",
            rule="granted" if refusal is None else refusal.rule,
            args_sha256=args_sha256,
        )
        if refusal is not None:
            record.error_kind = refusal.kind
        if action is not None:
            for name, value in action.about().items():
                setattr(record, name, value or "")
        if grant is not None:
            record.grant, record.grant_ids = str(grant), [each.id for each in grant.chain()]
        return record

    def told(self, **fields: Any) -> None:
        """A decision that was made elsewhere than on the ladder."""
        decision = {"decision": "allow", "rule": "granted", **fields}
        self.write(Record(ts=self._now_s(), seq=self._journal.next_seq(), vm=self._vm, **decision))

    def write(self, record: Record) -> None:
        self._journal.write(record)
