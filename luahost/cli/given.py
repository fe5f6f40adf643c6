"""What the command line hands over, read and checked before anything runs: ConfigError, or a thing that works.

--config, --provider, --model, --grant → Config      --memory, --cpu, --isolation → Limits
--input → a value                                    --sessions, --audit → files that can be written
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from luahost import config
from luahost.errors import ConfigError, WorldError
from luahost.gate.grants import Grant
from luahost.ops.sessions.dump import MAX_BYTES
from luahost.values import parse_size

if TYPE_CHECKING:
    from luahost.config import Config
    from luahost.program.vm import Vm
    from luahost.values import Limits, Value

MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.001, 86_400 * 365


def configuration(options: dict[str, Any]) -> Config:
    """The file's configuration, with what the command line says in place of what the file says."""
    made = config.load(options["config_file"])
    changes: dict[str, Any] = {}
    if options["provider"] is not None:
        changes |= {"provider": options["provider"], "model": None}  # the file's model is its provider's
    if options["model"] is not None:
        changes["model"] = options["model"]
    given = config.one_of_each(Grant.parse(text) for text in options["grants"])
    kinds = {grant.kind for grant in given}
    held = (*(grant for grant in made.grants if grant.kind not in kinds), *given)
    changes["grants"] = tuple(grant.attenuate(approve="ask") for grant in held) if options["ask"] else held
    return msgspec.structs.replace(made, **changes)


def limits(configured: Limits, options: dict[str, Any]) -> Limits:
    changes: dict[str, Any] = {}
    if options["memory"] is not None:
        try:
            changes["memory_bytes"] = parse_size(options["memory"])
        except ConfigError as error:
            raise ConfigError(f"--memory: {error.message}") from None
    if options["cpu"] is not None:
        changes["cpu_s"] = options["cpu"]
    if options["isolation"] is not None:
        changes["isolation"] = options["isolation"]
    return msgspec.structs.replace(configured, **changes)


def timeout_s(value: float | None) -> float | None:
    """--timeout as it was given."""
    if value is not None and not MIN_TIMEOUT_S <= value <= MAX_TIMEOUT_S:
        wanted = f"seconds from {MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S}"
        raise ConfigError(f"--timeout: {wanted} expected, got {value:g}")
    return value


def value(text: str | None, max_bytes: int) -> Value:
    """JSON as it stands, @FILE, or - for JSON on stdin. A file that is not .json is a text."""
    if text is None:
        return None
    if text == "-":
        if sys.stdin is None:
            raise ConfigError("--input -: JSON on stdin expected, and stdin is closed")
        data = sys.stdin.buffer.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ConfigError(f"--input: at most {max_bytes} bytes expected on stdin")
        return _json(data, "--input -")
    if not text.startswith("@"):
        return _json(text.encode("utf-8", "surrogateescape"), "--input", "; a text is '\"…\"', or @FILE")
    path = Path(text[1:])
    data = config.read_regular(path, max_bytes, "--input").removeprefix(b"\xef\xbb\xbf")
    if path.suffix.lower() == ".json":
        return _json(data, f"--input {path}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _json(data: bytes, what: str, hint: str = "") -> Value:
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"{what}: JSON expected: {error}{hint}") from None


def appendable(path: Path) -> Path:
    """The path, once it is clear that the audit can be written there: a run without one must not begin."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"--audit: {path} cannot be written: {error.strerror}") from None
    if not regular:
        raise ConfigError(f"--audit: a regular file expected, {path} is none")
    return path


class SessionsFile:
    """Sessions between two runs: read before, written after, whole or not at all. A link is followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = Path(os.path.realpath(path))
        self._text: bytes | None = None
        if os.path.lexists(self._target):
            self._text = config.read_regular(self._target, MAX_BYTES, "--sessions")
        elif not os.access(self._target.parent, os.W_OK):
            raise ConfigError(f"--sessions: {path} cannot be written: no such directory, or no right to")

    def load_into(self, vm: Vm) -> None:
        if self._text is not None:
            try:
                vm.sessions.load(self._text)
            except ConfigError as error:
                raise ConfigError(f"--sessions: {self.path}: {error.message}") from None

    def write(self, text: str) -> None:
        """A new file beside the old one, flushed to the disk, renamed over it; for its owner's eyes only."""
        import tempfile

        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{self._target.name}.", dir=self._target.parent)
            try:
                with open(descriptor, "wb") as file:
                    file.write(text.encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self._target)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise WorldError(f"--sessions: {self.path} cannot be written: {error.strerror}", kind="io") from None
