"""The providers: which server, told apart from which wire. One table; a configuration file adds to it.

A provider's key belongs to its origin and goes nowhere else. Sources: the vendors' documentation; llama.cpp,
vLLM and LM Studio listen on loopback by default and take no key.
"""

from __future__ import annotations

import functools
import os
import re

import msgspec

from luahost.errors import ConfigError
from luahost.gate.hosts import Origin, parse_base_url
from luahost.transport.settings import Deadlines
from luahost.values import nearest
from luahost.wire.events import Usage
from luahost.wire.models import SHIPPED, Models
from luahost.wire.retry import RetryPolicy
from luahost.wire.wires import NAMES, Wire, wire

_PATH = re.compile(r"/[!-~]*")


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for a million tokens. cache_read and cache_write: as input, where they are not said."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e6:
                raise ConfigError(f"price.{name}: US dollars for a million tokens expected, got {value!r}")

    def of(self, usage: Usage) -> float:
        read, write = usage.cache_read or 0, usage.cache_write or 0
        fresh = max(0, (usage.input or 0) - read - write)
        return (
            fresh * self.input
            + read * (self.input if self.cache_read is None else self.cache_read)
            + write * (self.input if self.cache_write is None else self.cache_write)
            + (usage.output or 0) * self.output
        ) / 1e6


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    name         what scripts and grants call it
    wire         how it is spoken to, one of wires.NAMES
    base_url     its origin, with a path prefix if it has one
    key_env      the environment variable of the host that holds its key; None: it takes none
    model        the model when a script names none; None: the script must
    health_path  what orcs.llm_ping asks for
    may_be_private  its name may stand for a private address; what an operator configures may
    price        US dollars for a million tokens; None: as the table of prices has it
    deadlines, retry  its defaults, where a script names none
    models       which of its models takes what
    """

    name: str
    wire: str = "openai"
    base_url: str
    key_env: str | None = None
    model: str | None = None
    health_path: str = "/v1/models"
    may_be_private: bool = True
    price: Price | None = None
    deadlines: Deadlines = Deadlines()
    retry: RetryPolicy = RetryPolicy()
    models: Models = SHIPPED

    def __post_init__(self) -> None:
        if self.wire not in NAMES:
            raise ConfigError(
                f"providers.{self.name}.wire: one of {', '.join(NAMES)} expected, got {self.wire!r}"
                f"{nearest(self.wire, NAMES)}"
            )
        if not _PATH.fullmatch(self.health_path):
            raise ConfigError(
                f"providers.{self.name}.health_path: a path like /health expected, got {self.health_path[:100]!r}"
            )
        try:
            parse_base_url(self.base_url)
        except ConfigError as error:
            raise ConfigError(f"providers.{self.name}.{error.message}") from None

    @property
    def origin(self) -> Origin:
        return _parsed(self.base_url)[0]

    @property
    def prefix(self) -> str:
        """The path in front of the wire's own paths."""
        return without_version(_parsed(self.base_url)[1])

    @property
    def spoken(self) -> Wire:
        """How requests to it are written and its answers read."""
        return wire(self.wire, self.name, self.models)

    def key(self) -> str | None:
        """The key from the host's environment, or None; without the line end that a file has left behind it.

        Never stored, never shown.
        """
        return (os.environ.get(self.key_env, "").strip() or None) if self.key_env else None


@functools.lru_cache(maxsize=256)
def _parsed(url: str) -> tuple[Origin, str]:
    """Of an operator's URL, asked for with each call; a script's own is never kept."""
    return parse_base_url(url)


def without_version(path: str) -> str:
    """A URL's path without the version that a wire's own paths begin with: people write it either way."""
    return path.removesuffix("/v1beta").removesuffix("/v1")


def _hosted(
    name: str,
    base_url: str,
    key_env: str,
    model: str | None,
    *,
    wire: str = "openai",
    health_path: str = "/v1/models",
) -> Provider:
    """A vendor's own service: a public name, a key."""
    return Provider(
        name=name,
        wire=wire,
        base_url=base_url,
        key_env=key_env,
        model=model,
        health_path=health_path,
        may_be_private=False,
    )


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(name="ollama", base_url="http://localhost:11434", model="llama3.2", health_path="/"),
        _hosted("openai", "https://api.openai.com", "OPENAI_API_KEY", "gpt-4o"),
        _hosted(
            "anthropic",
            "https://api.anthropic.com",
            "ANTHROPIC_API_KEY",
            "claude-sonnet-4-20250514",
            wire="anthropic",
        ),
        _hosted(
            "gemini",
            "https://generativelanguage.googleapis.com",
            "GEMINI_API_KEY",
            "gemini-2.5-flash",
            wire="gemini",
            health_path="/v1beta/models",
        ),
        _hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter/auto"),
        Provider(name="llamacpp", base_url="http://localhost:8080", model="default", health_path="/health"),
        Provider(name="vllm", base_url="http://localhost:8000", health_path="/health"),
        Provider(name="lmstudio", base_url="http://localhost:1234"),
        _hosted("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "llama-3.3-70b-versatile"),
        _hosted("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek-chat"),
        _hosted("mistral", "https://api.mistral.ai", "MISTRAL_API_KEY", "mistral-large-latest"),
        _hosted("xai", "https://api.x.ai", "XAI_API_KEY", None),
        _hosted("together", "https://api.together.xyz", "TOGETHER_API_KEY", None),
    )
}
"""Known without any configuration; ollama is the default."""

ALIASES = {"google": "gemini"}
