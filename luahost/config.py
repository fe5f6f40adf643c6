"""What people hand over, read and checked: the configuration file, the script file.

    [providers.NAME]      wire, base_url, key_env, model, health_path, price = {}, retry = {}, deadlines = {};
                          a known name may be changed in part
    provider, model       the defaults for scripts that name none
    [limits]              the fields of Limits; sizes also as text, "64MiB"
    [[grants]]            kind, and its constraints
    [[ceiling]]           the same: what a script may ask the approver for, at most
    [[models.TABLE]]      what a model takes: pattern, and the facts that differ from wire/models.toml; TABLE is
                          anthropic, openai, compatible (all others on OpenAI's wire) or gemini
    [transport]           proxy, ca_file, max_connections
    [mcp.NAME]            an MCP server: command, env, cwd, or url; timeout_s

Everything unknown is an error that names it. No key stands in a file: key_env names the variable that has it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from luahost.errors import ConfigError
from luahost.gate.constraints import KINDS
from luahost.gate.grants import Grant
from luahost.ops.llm.providers import PROVIDERS, Price, Provider
from luahost.ops.mcp.settings import McpServer
from luahost.transport.settings import Deadlines, TransportSettings
from luahost.values import SOURCE_BYTES, Limits, Source, nearest, parse_size
from luahost.wire.models import Models
from luahost.wire.retry import RetryPolicy

DEFAULT_PROVIDER = "ollama"

T = TypeVar("T")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A host's configuration. Made by `load` from a file, or by hand."""

    providers: Mapping[str, Provider] = msgspec.field(default_factory=lambda: PROVIDERS)
    provider: str = DEFAULT_PROVIDER
    model: str | None = None
    limits: Limits = Limits()
    grants: tuple[Grant, ...] = ()
    ceiling: tuple[Grant, ...] = ()
    transport: TransportSettings = TransportSettings()
    mcp: Mapping[str, McpServer] = {}

    def __post_init__(self) -> None:
        if self.provider not in self.providers:
            raise ConfigError(
                f"provider: one of {', '.join(self.providers)} expected, got {self.provider!r}"
                f"{nearest(self.provider, self.providers)}"
            )


def load(config: Config | str | Path | None) -> Config:
    """A Config as it is, a file's, or the default one."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    return read_file(Path(config))


def read_file(path: Path) -> Config:
    """The configuration in a TOML file; ConfigError with one line for whatever is wrong in it."""
    import tomllib

    try:
        data = tomllib.loads(read_regular(path, 1 << 20, "configuration").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: TOML expected: {error}") from None
    try:
        return _config(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from None


def _config(data: dict[str, Any]) -> Config:
    known = ("providers", "provider", "model", "models", "limits", "grants", "ceiling", "transport", "mcp")
    _only(data, known, "")
    fields: dict[str, Any] = {}
    providers = dict(PROVIDERS)
    for name, table in _table(data, "providers").items():
        providers[name] = _provider(name, table)
    if "models" in data:
        models = _models(_table(data, "models"))
        providers = {name: msgspec.structs.replace(each, models=models) for name, each in providers.items()}
    fields["providers"] = providers
    for name in ("provider", "model"):
        if name in data:
            if not isinstance(data[name], str):
                raise ConfigError(f"{name}: a text expected, got {data[name]!r}")
            fields[name] = data[name]
    fields["limits"] = _limits(_table(data, "limits"))
    transport = _table(data, "transport")
    _only(transport, TransportSettings.__struct_fields__, "transport")
    fields["transport"] = _converted(transport, TransportSettings, "transport")
    if fields["transport"].ca_file is not None:
        _check_authorities(fields["transport"].ca_file)
    fields["mcp"] = {name: _mcp(name, table) for name, table in _table(data, "mcp").items()}
    for name in ("grants", "ceiling"):
        tables = data.get(name, [])
        if not isinstance(tables, list):
            raise ConfigError(f"{name}: tables like [[{name}]] expected")
        fields[name] = one_of_each(_grant(table, name) for table in tables)
    return Config(**fields)


def one_of_each(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """The grants as a tuple; ConfigError when two are of one kind, as a VM holds one of each."""
    made = tuple(grants)
    kinds = [grant.kind for grant in made]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ConfigError(f"grants: one grant of each kind expected, got {kinds.count(kind)} of {kind!r}")
    return made


def _mcp(name: str, table: Any) -> McpServer:
    where = f"mcp.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise ConfigError(f"{where}: a name of letters, digits, _ and - expected")
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: a table expected, got {table!r}")
    _only(table, McpServer.__struct_fields__, where)
    try:
        return _converted(table, McpServer, where)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message.removeprefix(where + ': ')}") from None


def _provider(name: str, table: Any) -> Provider:
    texts = ("wire", "base_url", "key_env", "model", "health_path")
    where = f"providers.{name}"
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: a table expected, got {table!r}")
    if "key" in table or "api_key" in table:
        raise ConfigError(f"{where}: a key does not belong in a file; key_env names the variable that has it")
    _only(table, (*texts, "price", "retry", "deadlines"), where)
    fields = dict(table)
    for field in texts:
        if field in table and not isinstance(table[field], str):
            raise ConfigError(f"{where}.{field}: a text expected, got {table[field]!r}")
    for field, kind in (("price", Price), ("retry", RetryPolicy), ("deadlines", Deadlines)):
        if field in table:
            known = kind.__struct_fields__
            _only(_table(table, field), known, f"{where}.{field}")
            fields[field] = _converted(table[field], kind, f"{where}.{field}")
    if "base_url" in table:
        fields["may_be_private"] = True  # the operator says where it is
    if name in PROVIDERS:
        return msgspec.structs.replace(PROVIDERS[name], **fields)
    if "base_url" not in table:
        raise ConfigError(f"{where}: base_url is missing")
    return Provider(name=name, **fields)


def _models(tables: dict[str, Any]) -> Models:
    for name, rows in tables.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigError(f"models.{name}: tables like [[models.{name}]] expected")
    return Models(tables)


def _converted(table: dict[str, Any], kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _limits(table: dict[str, Any]) -> Limits:
    _only(table, Limits.__struct_fields__, "limits")
    made = dict(table)
    for field, value in made.items():
        if field.endswith("_bytes") and isinstance(value, str):
            try:
                made[field] = parse_size(value)
            except ConfigError as error:
                raise ConfigError(f"limits.{field}: {error.message}") from None
    return Limits(**made)


def _grant(table: Any, where: str) -> Grant:
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise ConfigError(f"{where}: kind = one of {', '.join(KINDS)} expected in each [[{where}]]")
    kind, constraints = table["kind"], {name: value for name, value in table.items() if name != "kind"}
    if kind in KINDS:
        _only(constraints, KINDS[kind].__struct_fields__, where)
    return Grant(kind, **constraints)


def _check_authorities(path: str) -> None:
    import ssl  # only for who names a file of their own

    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = "a PEM file of certificates" if isinstance(error, ssl.SSLError) else "a file that can be read"
        raise ConfigError(f"transport.ca_file: {why} expected, got {path!r}") from None


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: a table expected, got {table!r}")
    return table


def _only(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            place = f"{where}.{name}" if where else name
            raise ConfigError(f"unknown key {place!r}{nearest(name, known)}; known: {', '.join(known)}")


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────


def read_regular(path: Path, max_bytes: int, what: str) -> bytes:
    """A regular file's bytes; ConfigError for anything else, without waiting for a FIFO's writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{what}: {path} does not exist") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{what}: {path} cannot be read: {reason}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        is_a = "a directory" if stat.S_ISDIR(mode) else "a FIFO" if stat.S_ISFIFO(mode) else "no regular file"
        raise ConfigError(f"{what}: a regular file expected, {path} is {is_a}")
    with open(descriptor, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ConfigError(f"{what}: at most {max_bytes} bytes expected, {path} has more")
    return data


def read_script(script: str | Path | Source) -> Source:
    """The script a path names, or the Source itself. Its name in errors is the file's name, not its path."""
    if isinstance(script, Source):
        return script
    path = Path(script)
    text = read_regular(path, SOURCE_BYTES + 3, "script")
    name = os.fsencode(path.name).decode(errors="replace")  # a text, whatever the disk calls it
    return Source(text, name, path.absolute().parent)
