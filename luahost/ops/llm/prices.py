"""What a call costs in US dollars: the server's own word, the operator's price, or the table of `genai-prices`.

The table is an optional extra (`pip install luahost[prices]`) and takes a third of a second to import: that happens
with the HTTP client's, in a thread. What is not known is None, never 0, and what is no finite number of dollars is
not known.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from luahost.ops.llm.providers import Provider
from luahost.wire.events import Usage

MICRO = 1_000_000
"""Millionths of a dollar in a dollar."""

_IDS = {"gemini": "google", "xai": "x-ai"}
"""Our names of providers that the table spells otherwise."""


def cost_usd(provider: Provider, model: str, usage: Usage) -> float | None:
    """Dollars for so many tokens, or None where no price is known."""
    said = _finite(usage.cost_usd)
    if said is not None:
        return said
    if usage.input is None and usage.output is None:
        return None
    if provider.price is not None:
        return provider.price.of(usage)
    if provider.key_env is None:
        return None  # a server of one's own sends no bill
    return _listed(_IDS.get(provider.name, provider.name), model, usage)


def microusd(provider: Provider, model: str, usage: Usage) -> int | None:
    """The same in whole millionths, rounded up, for a ledger; a server of one's own costs nothing."""
    cost = cost_usd(provider, model, usage)
    if cost is None:
        return 0 if provider.key_env is None else None
    return math.ceil(cost * MICRO - 1e-6)


def _finite(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < 1e9 else None


@cache
def table() -> Any:
    """The module `genai_prices`, or None where it is not installed."""
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def _listed(provider: str, model: str, usage: Usage) -> float | None:
    prices = table()
    if prices is None:
        return None
    read, write = usage.cache_read or 0, usage.cache_write or 0
    tokens = prices.Usage(
        input_tokens=max(usage.input or 0, read + write),
        output_tokens=usage.output or 0,
        cache_read_tokens=read or None,
        cache_write_tokens=write or None,
    )
    try:
        return _finite(float(prices.calc_price(tokens, model, provider_id=provider).total_price))
    except (LookupError, ValueError):  # no such model; or numbers that its rules refuse
        return None
