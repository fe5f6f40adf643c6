"""A key must not come back from the server it was sent to: it is cut out of what the server says of itself.

The masks of wire.failures know what keys look like; this knows the one that was sent. Pure.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

SHORTEST = 6
"""A key shorter than this would take words out of ordinary texts."""

MASK = "***"


def without(value: Any, key: str | None) -> Any:
    """The value, in all its texts, without the key; nor its beginning where a text was cut short in it."""
    if key is None or len(key) < SHORTEST:
        return value
    if isinstance(value, str):
        return _text(value, key)
    if isinstance(value, dict):
        return {name: without(each, key) for name, each in value.items()}
    if isinstance(value, list):
        return [without(each, key) for each in value]
    return value


def _text(text: str, key: str) -> str:
    for spelt in {key, quote(key, safe="")}:
        text = text.replace(spelt, MASK)
    end = text.rstrip("… .\"'")
    for length in range(min(len(key) - 1, len(end)), SHORTEST - 1, -1):
        if end.endswith(key[:length]):
            return text[: len(end) - length] + MASK
    return text
